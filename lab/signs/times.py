"""Reads points in time from the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from latentwatch.lab.signs.errors import PlanError
from latentwatch.lab.signs.traffic import HOUR_NS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def hour_start_ns(text: str) -> int:
    """Read the start of an hour.

    Parameters
    ----------
    text
        RFC 3339, such as ``2026-01-05T08:00:00Z``, or nanoseconds since 1970 UTC.

    Returns
    -------
    int
        Nanoseconds since 1970 UTC.

    Raises
    ------
    PlanError
        Neither of the two, or not the start of an hour.

    Examples
    --------
    >>> hour_start_ns("1970-01-01T02:00:00Z")
    7200000000000
    """
    nanoseconds = int(text) if text.isdecimal() else _from_rfc3339(text)
    if nanoseconds % HOUR_NS or nanoseconds < 0:
        raise PlanError(
            f"{text} is not the start of an hour: hours are in UTC, as in the detection rates; use "
            "a time whose minutes and seconds are zero"
        )
    return nanoseconds


def _from_rfc3339(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PlanError(
            f"cannot read the time {text!r}: use RFC 3339 with a time zone, such as "
            "2026-01-05T08:00:00Z, or nanoseconds since 1970 UTC"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
