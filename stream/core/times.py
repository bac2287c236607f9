"""Times in events, files and options: RFC 3339 in UTC, to the nanosecond; hours count from 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["HOUR_NS", "hour_name", "nanoseconds", "parse_hour", "parse_timestamp", "timestamp"]

HOUR_NS = 3_600 * 10**9

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"(.{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since 1970 of a time with a time zone; exact, before 1970 as well."""
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    return (seconds * 10**6 + since.microseconds) * 1000


def timestamp(time_ns: int) -> str:
    """RFC 3339, UTC, of nanoseconds since 1970."""
    seconds, rest = divmod(time_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{rest:09d}Z"


def parse_timestamp(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time with up to nine decimals.

    Raises
    ------
    ValueError
        Not RFC 3339, or without a time zone.

    Examples
    --------
    >>> parse_timestamp("2026-01-05T10:02:40.828882294Z")
    1767607360828882294
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"not an RFC 3339 time with a time zone: {text[:40]!r}")
    whole, fraction, zone = found.groups()
    moment = datetime.fromisoformat(whole + zone)
    return nanoseconds(moment) + int((fraction or "0").ljust(9, "0"))


def hour_name(hour: int) -> str:
    """RFC 3339 start of an hour, counted since 1970, UTC."""
    start = datetime.fromtimestamp(hour * (HOUR_NS // 10**9), UTC)
    return start.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_hour(name: str) -> int:
    """Inverse of `hour_name`.

    Raises
    ------
    ValueError
        Not the start of an hour.

    Examples
    --------
    >>> hour_name(parse_hour("2026-01-05T10:00:00Z"))
    '2026-01-05T10:00:00Z'
    """
    hour, rest = divmod(parse_timestamp(name), HOUR_NS)
    if rest:
        raise ValueError(f"not the start of an hour: {name[:40]!r}")
    return hour
