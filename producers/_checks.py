"""The validation rules that encoder and decoder share; each raises `WireError` with its reason.

Untrusted text is quoted only in part, and never through `repr` of a container: the detail ends up
in logs and dead letters, and nested containers can exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from latentwatch.producers._batch import EVENT_TIME, PREDICTED, Limits
from latentwatch.producers._floats import all_finite
from latentwatch.producers.errors import Reason, WireError

# The rule for the first character excludes "..", hidden files and anything that looks like a
# command option: names become parts of file paths and object keys downstream.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# CloudEvents 1.0, "String": no control characters, no surrogates.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-5][0-9])"
)
# W3C Trace Context: version, trace id, parent id, flags.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def show(value: object) -> str:
    """Quote an untrusted value briefly: strings truncated, containers by their type alone."""
    if isinstance(value, str):
        return repr(value[:60]) + ("..." if len(value) > 60 else "")
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"a {type(value).__name__}"


def check_name(what: str, name: object, limits: Limits) -> None:
    """Refuse a name with characters other than letters, digits, ``.``, ``_`` and ``-``."""
    if not isinstance(name, str) or len(name) > limits.name_length or _NAME.fullmatch(name) is None:
        raise WireError(
            Reason.BAD_NAME,
            f"{what} {show(name)}: use 1 to {limits.name_length} letters, digits, '.', '_' or '-', "
            "starting with a letter, a digit or '_'",
        )


def check_text(what: str, text: object, limit: int) -> None:
    """Refuse anything but a CloudEvents string of 1 to `limit` characters."""
    if not isinstance(text, str) or not 0 < len(text) <= limit or _FORBIDDEN.search(text):
        raise WireError(
            Reason.BAD_HEADER,
            f"{what} {show(text)}: use 1 to {limit} characters without control characters",
        )


def check_time(time: str) -> None:
    """Refuse anything but an RFC 3339 time with an offset; leap seconds are refused as well."""
    try:
        if _RFC3339.fullmatch(time) is None:
            raise ValueError
        datetime.fromisoformat(time.upper())
    except (TypeError, ValueError):
        raise WireError(
            Reason.BAD_TIME, f"time {show(time)}: use RFC 3339, as in 2030-01-31T12:00:00Z"
        ) from None


def is_traceparent(text: str) -> bool:
    """Whether a text is a W3C trace parent."""
    return _TRACEPARENT.fullmatch(text) is not None


def check_traceparent(traceparent: str | None) -> None:
    """Refuse anything but None or a W3C trace parent."""
    if traceparent is not None and (
        not isinstance(traceparent, str) or not is_traceparent(traceparent)
    ):
        raise WireError(
            Reason.BAD_TRACEPARENT,
            f"traceparent {show(traceparent)}: use the W3C form version-trace-parent-flags, "
            "or leave it out",
        )


def check_traceparents(traceparents: object, rows: int) -> None:
    """Refuse anything but None, or a sequence of `rows` W3C trace parents or None."""
    if traceparents is None:
        return
    if (
        not _is_sequence(traceparents)
        or len(traceparents) != rows
        or not set(map(type, traceparents)) <= {str, type(None)}
    ):
        raise WireError(
            Reason.BAD_TRACEPARENT,
            f"traceparents: give {rows} strings or nulls, one per row, or leave it out",
        )
    for text in dict.fromkeys(traceparents):
        check_traceparent(text)


def check_layer_name(name: object, limits: Limits) -> None:
    """Refuse a layer name that is malformed or reserved for another output."""
    check_name("layer", name, limits)
    if name in (PREDICTED, EVENT_TIME):
        raise WireError(Reason.BAD_OUTPUT, f"layer name {name} is reserved: rename the layer")


def check_extent(what: str, count: int, limit: int) -> None:
    """Refuse a number of rows, layers or dimensions outside 1 to `limit`."""
    if count > limit:
        raise WireError(Reason.TOO_LARGE, f"{count} {what}: send at most {limit}")
    if count < 1:
        raise WireError(Reason.BAD_SHAPE, f"{count} {what}: send at least one")


def check_finite(name: str, array: NDArray[Any], *, bfloat16: bool) -> None:
    """Refuse a layer with NaN or infinity."""
    if not all_finite(array, bfloat16=bfloat16):
        raise WireError(
            Reason.NOT_FINITE, f"layer {name} contains NaN or infinity: leave such rows out"
        )


def check_predicted(predicted: NDArray[Any]) -> None:
    """Refuse negative classes."""
    smallest = int(predicted.min())
    if smallest < 0:
        raise WireError(Reason.BAD_CLASS, f"predicted class {smallest}: classes count from 0")


def check_event_times(event_time_ns: NDArray[np.int64], limits: Limits) -> None:
    """Refuse event times outside the plausible range, such as seconds or milliseconds."""
    earliest, latest = int(event_time_ns.min()), int(event_time_ns.max())
    if earliest < limits.earliest_ns or latest >= limits.latest_ns:
        wrong = earliest if earliest < limits.earliest_ns else latest
        raise WireError(
            Reason.BAD_TIME,
            f"event time {wrong}: use nanoseconds since 1970-01-01 UTC, from {limits.earliest_ns} "
            f"to {limits.latest_ns}",
        )


def check_request_ids(ids: object, rows: int, limits: Limits) -> None:
    """Refuse anything but `rows` distinct, non-empty strings."""
    if not _is_sequence(ids) or len(ids) != rows or set(map(type, ids)) != {str}:
        raise WireError(Reason.BAD_IDS, f"request_ids: give {rows} strings, one per row")
    unique = set(ids)
    if len(unique) != rows:
        raise WireError(
            Reason.BAD_IDS, "request_ids: two rows have the same id; give each row its own"
        )
    if "" in unique or max(map(len, unique)) > limits.id_length:
        raise WireError(
            Reason.BAD_IDS, f"request_ids: use 1 to {limits.id_length} characters for each"
        )


def check_input_refs(refs: object, rows: int, limits: Limits) -> None:
    """Refuse anything but None, or a sequence of `rows` strings or None."""
    _check_texts("input_refs", refs, rows, range(limits.ref_length + 1), Reason.BAD_REFS)


def check_clients(clients: object, rows: int, limits: Limits) -> None:
    """Refuse anything but None, or a sequence of `rows` non-empty strings or None."""
    _check_texts("clients", clients, rows, range(1, limits.id_length + 1), Reason.BAD_CLIENTS)


def _check_texts(what: str, texts: object, rows: int, lengths: range, reason: Reason) -> None:
    if texts is None:
        return
    if (
        not _is_sequence(texts)
        or len(texts) != rows
        or not set(map(type, texts)) <= {str, type(None)}
    ):
        raise WireError(
            reason, f"{what}: give {rows} strings or nulls, one per row, or leave it out"
        )
    if any(len(text) not in lengths for text in texts if text is not None):
        raise WireError(reason, f"{what}: use {lengths[0]} to {lengths[-1]} characters for each")


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def check_attributes(
    *,
    model: str,
    version: str,
    source: str,
    event_id: str,
    time: str,
    traceparent: str | None,
    limits: Limits,
) -> None:
    """Refuse invalid model or version names and CloudEvents attributes."""
    check_name("model", model, limits)
    check_name("version", version, limits)
    check_text("source", source, limits.ref_length)
    check_text("event id", event_id, limits.id_length)
    check_time(time)
    check_traceparent(traceparent)
