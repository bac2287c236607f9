"""The report of an alert about a window: its pictures and its page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.stream.investigate.advice import next_steps
from latentwatch.stream.investigate.alert import WindowAlert
from latentwatch.stream.investigate.drawing import draw_map, draw_timeline
from latentwatch.stream.investigate.page import LISTED, Report, data_uri, moment, render
from latentwatch.stream.investigate.pictures import InputPictures
from latentwatch.stream.investigate.suspicion import Suspicion, SuspiciousRequest, weigh
from latentwatch.stream.investigate.window import Judged

__all__ = ["make_report"]


def make_report(
    judged: Judged,
    *,
    origin: str,
    recording: str | None = None,
    baseline_rows: NDArray[np.float32] | None = None,
    pictures: InputPictures | None = None,
    seed: int = 0,
) -> Report:
    """Make the report of an alert about a window.

    Parameters
    ----------
    judged : Judged
    origin : str
        Where the requests were read from, as shown in the report.
    recording : str, optional
        The recording, if they were read from one.
    baseline_rows : float32 [n, all columns], optional
        Validation rows for the map; by default, requests from before the window.
    pictures : InputPictures, optional
        Reads the pictures that input references point to.
    seed : int
        Of the map.
    """
    suspicion = weigh(judged)
    timeline = draw_timeline(judged)
    drawn = draw_map(judged, suspicion, baseline_rows, seed)
    listed = suspicion.requests[:LISTED]
    shown = (pictures or InputPictures()).read(request.input_ref for request in listed)
    html = render(
        "window.html",
        alert=judged.alert,
        summary=_summary(judged.alert),
        facts=_facts(judged, suspicion),
        proof=_proof(judged),
        timeline=data_uri(timeline),
        timeline_alt=_timeline_alt(judged),
        longest=judged.baseline.longest_window,
        views=_views(judged),
        view=judged.baseline.deciding[judged.view].name,
        map=data_uri(drawn) if drawn else None,
        map_alt=_map_alt(suspicion, baseline_rows is not None),
        map_caption=_map_caption(judged, baseline_rows is not None),
        requests_text=_requests_text(judged, suspicion),
        listed=[
            _plain(request) | {"picture": picture}
            for request, picture in zip(listed, shown, strict=True)
        ],
        has_pictures=any(shown),
        senders=suspicion.senders,
        before=judged.start,
        classes=suspicion.classes,
        steps=next_steps(judged.alert, suspicion, recording),
        origin=origin,
    )
    return Report(html, timeline, drawn)


def _summary(alert: WindowAlert) -> str:
    what = (
        "The early layers moved more than the deep ones, which indicates changed inputs (drift)."
        if alert.pattern == "drift"
        else "The deep layers moved and the early ones hardly did, which indicates an attack."
    )
    return (
        f"{alert.requests} requests from {moment(alert.first_ns)} to {moment(alert.last_ns)} UTC "
        f"do not look like the baseline: their score of {alert.score:.1f} is above "
        f"{alert.threshold:.2f}, which benign traffic reaches once per "
        f"{alert.average_run_length:,.0f} requests on average. {what} Of all windows since the "
        "alert fired, this one has the highest score."
    )


def _facts(judged: Judged, suspicion: Suspicion) -> list[tuple[str, str]]:
    alert = judged.alert
    kind = "flagged" if suspicion.flagged else f"with p ≤ {suspicion.level:g}"
    return [
        ("pattern", alert.pattern),
        (f"score (threshold {alert.threshold:.2f})", f"{alert.score:.1f}"),
        ("p-value of the window", f"{alert.p_value:.2g}"),
        (
            "adversarial, estimated",
            f"{alert.contamination:.0%} (at least {alert.contamination_lower_bound:.0%})",
        ),
        (f"requests {kind}", f"{len(suspicion.suspicious)} of {alert.requests}"),
        ("repeats, not scored", str(suspicion.repeats)),
    ]


def _proof(judged: Judged) -> str:
    alert = judged.alert
    window = judged.rows.offsets[judged.window]
    place = (
        f"These are exactly the {alert.requests} requests that the worker evaluated, at offsets "
        f"{window[0]} to {window[-1]}"
    )
    if not judged.difference:
        return f"{place}: the recomputed T and E of every view equal the alert's to the last bit."
    return (
        f"{place}, as far as can be determined: the recomputed T and E differ from the alert's by "
        f"up to {judged.difference:.1g} of their size, as rounding on another processor would do."
    )


def _timeline_alt(judged: Judged) -> str:
    above = sum(decision.score >= judged.alert.threshold for decision in judged.decisions)
    return (
        f"Line charts of score, T and E over {len(judged.rows)} requests. {above} of "
        f"{len(judged.decisions)} windows reach the threshold of {judged.alert.threshold:.2f}; the "
        f"alert's window has a score of {judged.alert.score:.2f}."
    )


def _views(judged: Judged) -> list[dict[str, Any]]:
    deciding = {view.name for view in judged.baseline.deciding}
    return [
        {"name": name, "part": "decides" if name in deciding else "explains"} | values
        for name, values in judged.alert.statistics.items()
    ]


def _map_alt(suspicion: Suspicion, has_baseline: bool) -> str:
    against = "baseline rows" if has_baseline else "earlier requests"
    return (
        f"Scatter plot of {against} and the requests of the window, "
        f"{len(suspicion.suspicious)} of them marked as suspicious."
    )


def _map_caption(judged: Judged, has_baseline: bool) -> str:
    layer = judged.baseline.layer_names[-1]
    against = (
        "Grey: rows of the baseline."
        if has_baseline
        else "Grey: requests from before the window that were not suspicious, because the baseline "
        "keeps no rows (pass validation rows with --baseline-rows to show those instead)."
    )
    return f"Activations of {layer}. {against} Distances between far clusters mean nothing."


def _requests_text(judged: Judged, suspicion: Suspicion) -> str:
    bad = len(suspicion.suspicious)
    share = sum(request.share for request in suspicion.suspicious)
    verdict = (
        "By the false discovery procedure, on average at most a tenth of these are benign"
        if suspicion.flagged
        else "The false discovery procedure flags none: in such a short window, the evidence "
        "lies in the requests as a whole"
    )
    part = f" They make up {share:.0%} of T." if bad and share == share else ""
    repeats = (
        f" {suspicion.repeats} requests repeat others to the bit; they were counted, not scored."
        if suspicion.repeats
        else ""
    )
    return (
        f"{bad} of {judged.alert.requests} requests have a p-value of at most "
        f"{suspicion.level:g}.{part} {verdict}. A share is a request's part of the window's T; it "
        f"may be negative.{repeats}"
    )


def _plain(request: SuspiciousRequest) -> dict[str, Any]:
    known = request.share == request.share
    return asdict(request) | {
        "share": f"{request.share:.1%}" if known else "–",
        "time": moment(request.event_time_ns),
    }
