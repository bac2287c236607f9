"""Each request's part in an alarm, and who sent the suspicious ones."""

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
"""As the worker's setting has it by default."""


@dataclass(frozen=True, slots=True)
class SuspiciousRequest:
    """One request of the window.

    Parameters
    ----------
    row : int
        Its place among the window's requests, from 0.
    request_id : str
    predicted : int
    event_time_ns, offset : int
    p_value, squared_distance : float
        How typical it is of the deepest layer: small p-values and large squared Mahalanobis
        distances are atypical.
    share : float
        Its part in T of the deciding view, one for all requests together; NaN where T is not above
        zero, so that no mean has moved.
    source : str
        Service that sent it.
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
    """Requests of one service: all of the window, the suspicious ones, and those before."""

    source: str
    requests: int
    suspicious: int
    before: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a window's requests have to do with its alarm.

    Parameters
    ----------
    requests : tuple of SuspiciousRequest
        All that were judged, the most suspicious first.
    level : float
        Requests with p-values of at most this are called suspicious.
    flagged : bool
        Whether the level is that of the false discovery procedure; else nobody passes it, and the
        level is a plain five per cent.
    repeats : int
        Requests that repeat an earlier one to the bit: counted, and not judged.
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
    """Parts in T [n] that sum to one; NaN where T is not above zero."""
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
