"""The requests that a Sketch remembers by name: the most suspicious ones, in one total order."""

from __future__ import annotations

from typing import NamedTuple

SUSPECT_LEVEL = 0.05
"""Largest p-value of a request that a Sketch remembers by its id."""

SUSPECT_LIMIT = 1024
"""Most requests that a Sketch remembers; beyond it the counts stay exact, the ids do not."""

MOST_PARTS = 64
"""Ordered lists of suspects that a Sketch keeps apart before it merges them."""


class Suspect(NamedTuple):
    """A request worth remembering; ordered from the most suspicious on."""

    p_value: float
    minus_squared_distance: float
    request_id: str
    predicted: int
    event_time_ns: int
    partition: int
    offset: int
    input_ref: str | None


Ranked = tuple[tuple[Suspect, ...], ...]
"""Ordered lists of suspects that are not merged yet."""


def merged(ranked: Ranked) -> tuple[Suspect, ...]:
    """At most ``SUSPECT_LIMIT`` suspects with the smallest p-values, in order."""
    if len(ranked) <= 1:
        return ranked[0] if ranked else ()
    everybody = sorted((suspect for part in ranked for suspect in part), key=_suspicion)
    return tuple(everybody[:SUSPECT_LIMIT])


def bounded(ranked: Ranked) -> Ranked:
    """The same without empty lists, and merged when they are many: what is kept stays bounded."""
    ranked = tuple(part for part in ranked if part)
    return ranked if len(ranked) <= MOST_PARTS else (merged(ranked),)


def _suspicion(suspect: Suspect) -> tuple[float | str | int, ...]:
    # a total order on all that can differ, or sums would depend on the order of their parts;
    # input_ref may be None, which does not compare with strings
    return (*suspect[:-1], suspect.input_ref is not None, suspect.input_ref or "")
