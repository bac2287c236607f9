"""The contribution of each request to an alarm, and who sent the suspicious ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector import attribution, flag
from latentwatch.detector.sketch import REPEATED
from latentwatch.detector.suspects import SUSPECT_LEVEL
from latentwatch.stream.investigate.window import Judged

__all__ = ["Sender", "Suspicion", "SuspiciousRequest", "weigh"]

FALSE_DISCOVERY_RATE = 0.1
"""The default of the worker's setting."""


@dataclass(frozen=True, slots=True)
class SuspiciousRequest:
    """One request of the window.

    Parameters
    ----------
    row : int
        Position within the window, from 0.
    request_id : str
    predicted : int
    event_time_ns, offset : int
    p_value, squared_distance : float
        How typical the request is in the deepest layer: small p-values and large squared
        Mahalanobis distances are atypical.
    share : float
        Its part of T of the deciding view; shares sum to one. NaN if T is not positive, so that no
        mean has moved.
    source : str
        The service that sent it.
    input_ref : str or None
    """

    row: int
    request_id: str
    predicted: int
    event_time_ns: int
    offset: int
    p_value: float
    squared_distance: float
    share: float
    source: str
    input_ref: str | None


@dataclass(frozen=True, slots=True)
class Sender:
    """Requests of one service: in the window, suspicious ones among them, and before the window."""

    source: str
    requests: int
    suspicious: int
    before: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How the requests of a window contributed to its alarm.

    Parameters
    ----------
    requests : tuple of SuspiciousRequest
        All that were scored, the most suspicious first.
    level : float
        Requests with p-values of at most this are suspicious.
    flagged : bool
        Whether the level comes from the false discovery procedure; if that flags none, the level is
        five per cent.
    repeats : int
        Requests that repeat an earlier one to the bit: counted but not scored.
    senders : tuple of Sender
        The one with the most suspicious requests first.
    classes : tuple of (int, int, int)
        Predicted class, suspicious requests and all requests of the window, most suspicious first.
    """

    requests: tuple[SuspiciousRequest, ...]
    level: float
    flagged: bool
    repeats: int
    senders: tuple[Sender, ...]
    classes: tuple[tuple[int, int, int], ...]

    @property
    def suspicious(self) -> tuple[SuspiciousRequest, ...]:
        """Those at or below the level."""
        return tuple(request for request in self.requests if request.p_value <= self.level)


def weigh(judged: Judged) -> Suspicion:
    """Order the requests of the window: the lowest p-value first, then the largest share."""
    window = judged.features.take(judged.window)
    own = judged.rows.take(judged.window)
    sketch = judged.baseline.sketch(window, own.requests)
    passed = flag(sketch, FALSE_DISCOVERY_RATE, judged.baseline.fitted_rows)
    level = passed.level or SUSPECT_LEVEL
    unique = np.flatnonzero(window.groups != REPEATED)
    shares = _shares(window.psi[unique][:, judged.baseline.views[judged.view].slice])
    found = [
        SuspiciousRequest(
            row=row,
            request_id=own.requests.request_ids[row],
            predicted=int(own.predicted[row]),
            event_time_ns=int(own.requests.event_time_ns[row]),
            offset=int(own.offsets[row]),
            p_value=float(window.p_values[row, 0]),
            squared_distance=float(window.squared_distance[row, 0]),
            share=float(share),
            source=own.sources[row],
            input_ref=own.requests.input_refs[row],
        )
        for row, share in zip(unique.tolist(), shares, strict=True)
    ]
    found.sort(key=lambda r: (r.p_value, -r.share if r.share == r.share else -r.squared_distance))
    bad = [request for request in found if request.p_value <= level]
    return Suspicion(
        requests=tuple(found),
        level=level,
        flagged=bool(passed.level),
        repeats=len(own) - len(unique),
        senders=_senders(own.sources, judged.rows.sources[judged.before], bad),
        classes=_classes(own.predicted.tolist(), bad),
    )


def _shares(psi: NDArray[np.int16]) -> NDArray[np.float64]:
    """Shares of T [n] that sum to one; NaN if T is not positive."""
    parts = attribution(psi)
    total = parts.sum()
    return parts / total if total > 0 else np.full(len(parts), np.nan)


def _senders(
    window: tuple[str, ...], before: tuple[str, ...], suspicious: list[SuspiciousRequest]
) -> tuple[Sender, ...]:
    counts, earlier = Counter(window), Counter(before)
    bad = Counter(request.source for request in suspicious)
    order = sorted(counts, key=lambda source: (-bad[source], -counts[source], source))
    return tuple(Sender(s, counts[s], bad[s], earlier[s]) for s in order)


def _classes(
    predicted: list[int], suspicious: list[SuspiciousRequest]
) -> tuple[tuple[int, int, int], ...]:
    counts, bad = Counter(predicted), Counter(request.predicted for request in suspicious)
    order = sorted(bad, key=lambda c: (-bad[c], c))
    return tuple((c, bad[c], counts[c]) for c in order)
