"""Suspects: the most suspicious requests, which a Sketch keeps by id, in one total order."""

from __future__ import annotations

from typing import NamedTuple

SUSPECT_LEVEL = 0.05
"""Largest p-value of a request that a Sketch keeps by id."""

SUSPECT_LIMIT = 1024
"""Most requests that a Sketch keeps by id; counts stay exact beyond it, ids are dropped."""

MOST_PARTS = 64
"""Ordered lists of suspects that a Sketch keeps before it merges them."""


class Suspect(NamedTuple):
    """A suspicious request; the order starts with the most suspicious."""

    p_value: float
    minus_squared_distance: float
    request_id: str
    predicted: int
    event_time_ns: int
    partition: int
    offset: int
    input_ref: str | None


Ranked = tuple[tuple[Suspect, ...], ...]
"""Ordered lists of suspects, not merged yet."""


def merged(ranked: Ranked) -> tuple[Suspect, ...]:
    """At most ``SUSPECT_LIMIT`` suspects with the smallest p-values, in order."""
    if len(ranked) <= 1:
        return ranked[0] if ranked else ()
    everyone = sorted((suspect for part in ranked for suspect in part), key=_suspicion)
    return tuple(everyone[:SUSPECT_LIMIT])


def bounded(ranked: Ranked) -> Ranked:
    """The same without empty lists, merged once there are too many, so that memory is bounded."""
    ranked = tuple(part for part in ranked if part)
    return ranked if len(ranked) <= MOST_PARTS else (merged(ranked),)


def _suspicion(suspect: Suspect) -> tuple[float | str | int, ...]:
    # a total order on everything that can differ, or sums would depend on the order of addition;
    # input_ref may be None, which does not compare with strings
    return (*suspect[:-1], suspect.input_ref is not None, suspect.input_ref or "")
