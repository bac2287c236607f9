"""Times as events write them: RFC 3339 in UTC, to the nanosecond; hours are counted since 1970."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["HOUR_NS", "hour_name", "parse_timestamp", "timestamp"]

HOUR_NS = 3_600 * 10**9


def timestamp(time_ns: int) -> str:
    """RFC 3339, UTC, of nanoseconds since 1970."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{nanoseconds:09d}Z"


def parse_timestamp(text: str) -> int:
    """Nanoseconds since 1970 of a time as `timestamp` writes it; the fraction may be missing.

    Examples
    --------
    >>> parse_timestamp("2026-01-05T10:02:40.828882294Z")
    1767607360828882294
    """
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0") or 0)


def hour_name(hour: int) -> str:
    """RFC 3339 start of an hour that is counted since 1970, UTC."""
    start = datetime.fromtimestamp(hour * (HOUR_NS // 10**9), UTC)
    return start.strftime("%Y-%m-%dT%H:%M:%SZ")
