"""The events that importers produce, and the summary of skipped rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latentwatch.stream.core.times import parse_timestamp

__all__ = ["Event", "Float32", "NotImportedError", "Skipped", "Summary", "time_ns_of"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Event:
    """Requests that came together: one message of the recording.

    Parameters
    ----------
    place : str
        File and line where it was read, for messages.
    time_ns : int
        When it happened, nanoseconds since 1970, UTC.
    event_id, source : str
        As in `latentwatch.producers.wire.ActivationBatch`.
    request_ids : tuple of str [n]
    layers : dict of str to float32 [n, d]
    predicted : int64 [n]
    input_ref : str, optional
        Where the inputs of all rows are stored.
    """

    place: str
    time_ns: int
    event_id: str
    source: str
    request_ids: tuple[str, ...]
    layers: dict[str, Float32]
    predicted: NDArray[np.int64]
    input_ref: str | None = None


class NotImportedError(Exception):
    """A line, event or step that cannot be imported; it never leaves this package.

    Parameters
    ----------
    reason : str
        A few words that are the same for all of its kind.
    detail : str
        What was found, and what to do about it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(slots=True)
class Skipped:
    """What was skipped for one reason: how often, where first, and what to do."""

    count: int
    place: str
    detail: str


@dataclass(slots=True)
class Summary:
    """How much was imported, and what was skipped.

    Parameters
    ----------
    rows, messages : int
        What was imported.
    skipped : dict of reason to Skipped
        What was not: rows, or whole lines and files if no row could be identified.
    """

    rows: int = 0
    messages: int = 0
    skipped: dict[str, Skipped] = field(default_factory=dict)

    def skip(self, reason: str, place: str, detail: str, count: int = 1) -> None:
        """Count skipped rows."""
        known = self.skipped.setdefault(reason, Skipped(0, place, detail))
        known.count += count

    def reasons(self) -> str:
        """Why rows were skipped, on one line."""
        return "; ".join(
            f"{reason}: {found.count}, first at {found.place} ({found.detail})"
            for reason, found in self.skipped.items()
        )


def time_ns_of(text: object) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time, to all of its up to nine digits.

    Raises
    ------
    NotImportedError
        Not such a time.
    """
    try:
        return parse_timestamp(str(text))
    except ValueError:
        raise NotImportedError(
            "no time", f"{str(text)[:40]!r} is not an RFC 3339 time such as 2026-01-05T10:00:00Z"
        ) from None
