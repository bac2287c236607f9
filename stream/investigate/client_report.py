"""The report on a client who appears to copy the model."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.stream.investigate.advice import KEEP, Step, replay_command
from latentwatch.stream.investigate.alert import ClientAlert
from latentwatch.stream.investigate.client import JudgedClient
from latentwatch.stream.investigate.client_drawing import draw_evidence, draw_queries
from latentwatch.stream.investigate.page import LISTED, Report, data_uri, moment, render
from latentwatch.stream.investigate.pictures import InputPictures

__all__ = ["make_client_report"]

EQUAL = 1e-9
"""Relative difference that counts as equal: the last digits of a sum."""


def make_client_report(
    judged: JudgedClient,
    *,
    origin: str,
    recording: str | None = None,
    baseline_rows: NDArray[np.float32] | None = None,
    pictures: InputPictures | None = None,
    seed: int = 0,
) -> Report:
    """Make the report of an alert about a client; parameters as in `report.make_report`."""
    evidence, drawn = draw_evidence(judged), draw_queries(judged, baseline_rows, seed)
    nearest = judged.judged[np.argsort(judged.trace.p_values[judged.judged], kind="stable")]
    listed = nearest[:LISTED].tolist()
    refs = (judged.rows.requests.input_refs[row] for row in listed)
    shown = (pictures or InputPictures()).read(refs)
    html = render(
        "client.html",
        alert=judged.alert,
        summary=_summary(judged.alert),
        facts=_facts(judged),
        proof=_proof(judged),
        evidence=data_uri(evidence),
        evidence_alt=_evidence_alt(judged),
        map=data_uri(drawn) if drawn else None,
        map_against="baseline rows" if baseline_rows is not None else "requests of others",
        layer=judged.baseline.layer_names[-1],
        listed=[
            _query(judged, row) | {"picture": picture}
            for row, picture in zip(listed, shown, strict=True)
        ],
        has_pictures=any(shown),
        classes=Counter(judged.rows.predicted[judged.judged].tolist()).most_common(),
        steps=_steps(judged.alert, recording),
        origin=origin,
    )
    return Report(html, evidence, drawn)


def _summary(alert: ClientAlert) -> str:
    return (
        f"{alert.requests} queries of this client, from {moment(alert.first_ns)} to "
        f"{moment(alert.last_ns)} UTC, are closer to each other than those of honest clients. This "
        "happens when somebody copies the model with inputs derived from each other. The evidence "
        f"of {alert.score:,.0f} is at least {alert.threshold:,.0f}. Across all clients, honest "
        f"traffic reaches that once per {alert.average_run_length:,.0f} requests on average."
    )


def _facts(judged: JudgedClient) -> list[tuple[str, str]]:
    p_values = judged.trace.p_values[judged.judged]
    repeats = len(judged.rows) - judged.start - len(p_values)
    return [
        ("pattern", "extraction"),
        ("queries that count", f"{len(p_values):,}"),
        ("closer than 19 in 20", f"{(p_values <= 0.05).mean():.0%}"),
        ("median p-value", f"{np.median(p_values):.2g}"),
        ("classes", str(len(np.unique(judged.rows.predicted[judged.judged])))),
        ("retries, not scored", str(repeats)),
    ]


def _proof(judged: JudgedClient) -> str:
    start = "The evidence, recomputed from the queries that were read, "
    if judged.difference <= EQUAL:
        return f"{start}equals the alert's."
    return (
        f"{start}differs from the alert's by {judged.difference:.1%}: the worker saw earlier "
        "queries of the client that could not be read, or its processor rounds differently."
    )


def _evidence_alt(judged: JudgedClient) -> str:
    reached = int((judged.trace.evidence >= judged.alert.threshold).sum())
    return (
        f"Line chart of the evidence over {len(judged.rows)} queries of the client; it is at or "
        f"above the threshold after {reached} of them. Below: the p-value of each query."
    )


def _query(judged: JudgedClient, row: int) -> dict[str, Any]:
    requests = judged.rows.requests
    return {
        "request_id": requests.request_ids[row],
        "input_ref": requests.input_refs[row],
        "predicted": int(judged.rows.predicted[row]),
        "p_value": float(judged.trace.p_values[row]),
        "evidence": float(judged.trace.evidence[row]),
        "time": moment(int(requests.event_time_ns[row])),
        "source": judged.rows.sources[row],
    }


def _steps(alert: ClientAlert, recording: str | None) -> list[Step]:
    return [
        Step(
            "Find out who the client is. A name that many people share, such as that of a gateway, "
            "does not identify a client: publish the names behind it."
        ),
        Step(
            "Look for an honest reason. Video frames of one object, variations of one picture, or "
            "a test that changes one input in small steps look like copying."
        ),
        *([] if recording else [KEEP]),
        Step(
            "If there is none, limit the client's rate or block the client, and review what they "
            "obtained: their queries and the answers. In MITRE ATLAS this is AML.T0024.002."
        ),
        Step(
            "Replay the recorded traffic without a broker to see whether other clients do it too.",
            replay_command(alert, recording or "./recording"),
        ),
    ]
