"""The report on a client who seems to copy the model."""

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
"""Relative difference that is none: the last digits of a sum."""


def make_client_report(
    judged: JudgedClient,
    *,
    origin: str,
    recording: str | None = None,
    baseline_rows: NDArray[np.float32] | None = None,
    pictures: InputPictures | None = None,
    seed: int = 0,
) -> Report:
    """Draw and write everything about an alert; see `report.make_report` for the parameters."""
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
        f"{moment(alert.last_ns)} UTC, are nearer to one another than those of honest clients, as "
        "they are when somebody copies the model by inputs that he makes from one another. The "
        f"evidence of {alert.score:,.0f} is at least {alert.threshold:,.0f}, which honest clients, "
        f"all together, reach once in {alert.average_run_length:,.0f} requests, on average."
    )


def _facts(judged: JudgedClient) -> list[tuple[str, str]]:
    p_values = judged.trace.p_values[judged.judged]
    repeats = len(judged.rows) - judged.start - len(p_values)
    return [
        ("pattern", "extraction"),
        ("queries that count", f"{len(p_values):,}"),
        ("nearer than 19 in 20", f"{(p_values <= 0.05).mean():.0%}"),
        ("median p-value", f"{np.median(p_values):.2g}"),
        ("classes", str(len(np.unique(judged.rows.predicted[judged.judged])))),
        ("retries, not judged", str(repeats)),
    ]


def _proof(judged: JudgedClient) -> str:
    start = "The evidence, computed again from the queries that were read, "
    if judged.difference <= EQUAL:
        return f"{start}equals the alert's."
    return (
        f"{start}differs from the alert's by {judged.difference:.1%}: the worker has seen earlier "
        "queries of the client that could not be read, or its processor rounds otherwise."
    )


def _evidence_alt(judged: JudgedClient) -> str:
    reached = int((judged.trace.evidence >= judged.alert.threshold).sum())
    return (
        f"Line chart of the evidence over {len(judged.rows)} queries of the client; it is at or "
        f"above the threshold after {reached} of them. Below it the p-value of each."
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
            "Find out who he is. A name that many people share, such as that of a gateway, is no "
            "client: publish who is behind it."
        ),
        Step(
            "Is there an honest reason? Frames of one object in a video, varied pictures of one "
            "thing, or a test that moves one input by small steps look like copying."
        ),
        *([] if recording else [KEEP]),
        Step(
            "If there is none: limit his rate or block him, and see what he got, his queries and "
            "the answers to them. MITRE ATLAS calls it AML.T0024.002."
        ),
        Step(
            "Judge the recorded traffic again, without a broker, and see whether others do it too.",
            replay_command(alert, recording or "./recording"),
        ),
    ]
