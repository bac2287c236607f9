"""Decode a Kafka message into an `ActivationBatch`; trusts nothing and copies no tensor data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latentwatch.producers import _checks as checks
from latentwatch.producers._batch import (
    CONTENT_TYPE,
    CONTENT_TYPE_HEADER,
    DEFAULT_LIMITS,
    EVENT_TIME,
    EVENT_TYPE,
    LENGTH_HEADER,
    PREDICTED,
    SPEC_VERSION,
    TRACEPARENT_HEADER,
    TRACEPARENTS_HEADER,
    ActivationBatch,
    Limits,
)
from latentwatch.producers._layout import VECTORS, Output, read_layout
from latentwatch.producers.errors import Reason, WireError

Headers: TypeAlias = Iterable[tuple[str, bytes | None]] | Mapping[str, bytes | None] | None

_DIGITS = re.compile(rb"[0-9]{1,10}")


class _Attributes(NamedTuple):
    """The checked Kafka headers."""

    model: str
    version: str
    source: str
    event_id: str
    time: str
    traceparent: str | None
    json_bytes: int


def decode(
    value: bytes | None,
    headers: Headers,
    *,
    key: bytes | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ActivationBatch:
    """Validate one Kafka message and return it as a batch.

    Parameters
    ----------
    value : bytes
        The message value. None (a tombstone) is refused like any other bad message.
    headers : iterable of (str, bytes), or mapping
        The message headers. Unknown headers are ignored; a header that occurs twice is refused.
    key : bytes, optional
        The message key. If given it must be ``model/version`` or ``model/version/shard`` and
        agree with the headers.
    limits : Limits, optional
        The size limits of a message.

    Returns
    -------
    ActivationBatch
        Its arrays are read-only views into `value` (which they keep alive), little-endian and
        possibly unaligned.

    Raises
    ------
    WireError
        The message is invalid. No other exception is raised, whatever the bytes.
    """
    table = header_table(headers)
    attributes = _attributes(table, limits)
    shard = _shard(key, attributes, limits)
    outputs, texts = read_layout(value, attributes.json_bytes, limits)
    arrays = _tensors(value or b"", attributes.json_bytes, outputs)
    predicted, event_time_ns = arrays.pop(PREDICTED), arrays.pop(EVENT_TIME)
    checks.check_predicted(predicted)
    checks.check_event_times(event_time_ns, limits)
    checks.check_request_ids(texts.request_ids, len(predicted), limits)
    checks.check_input_refs(texts.input_refs, len(predicted), limits)
    checks.check_clients(texts.clients, len(predicted), limits)
    traceparents = _traceparents(table)
    checks.check_traceparents(traceparents, len(predicted))
    return ActivationBatch(
        model=attributes.model,
        version=attributes.version,
        activations=arrays,
        predicted=predicted,
        event_time_ns=event_time_ns,
        **texts._asdict(),
        source=attributes.source,
        event_id=attributes.event_id,
        time=attributes.time,
        traceparent=attributes.traceparent,
        traceparents=traceparents,
        shard=shard,
        bfloat16=frozenset(output.name for output in outputs if output.bfloat16),
    )


def header_table(headers: Headers) -> dict[str, bytes | None]:
    """Headers by name; a header that occurs twice is refused."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
    table = dict(pairs)
    if len(table) != len(pairs):
        raise WireError(Reason.BAD_HEADER, "a header name occurs twice: send each header once")
    return table


def _attributes(table: dict[str, bytes | None], limits: Limits) -> _Attributes:
    _expect(table, "ce_specversion", SPEC_VERSION, Reason.NOT_CLOUDEVENT)
    _expect(table, "ce_type", EVENT_TYPE, Reason.NOT_CLOUDEVENT)
    _expect(table, CONTENT_TYPE_HEADER, CONTENT_TYPE, Reason.BAD_HEADER)
    attributes = _Attributes(
        model=header_text(table, "ce_modelname", Reason.BAD_HEADER),
        version=header_text(table, "ce_modelversion", Reason.BAD_HEADER),
        source=header_text(table, "ce_source", Reason.NOT_CLOUDEVENT),
        event_id=header_text(table, "ce_id", Reason.NOT_CLOUDEVENT),
        time=header_text(table, "ce_time", Reason.NOT_CLOUDEVENT),
        traceparent=header_text(table, TRACEPARENT_HEADER, Reason.BAD_HEADER)
        if TRACEPARENT_HEADER in table
        else None,
        json_bytes=_json_bytes(table, limits),
    )
    checks.check_attributes(
        model=attributes.model,
        version=attributes.version,
        source=attributes.source,
        event_id=attributes.event_id,
        time=attributes.time,
        traceparent=attributes.traceparent,
        limits=limits,
    )
    return attributes


def _traceparents(table: dict[str, bytes | None]) -> list[str | None] | None:
    if TRACEPARENTS_HEADER not in table:
        return None
    texts = header_text(table, TRACEPARENTS_HEADER, Reason.BAD_HEADER).split(",")
    return [text or None for text in texts]


def header_text(table: dict[str, bytes | None], name: str, missing: Reason) -> str:
    """A required header, as text."""
    raw = table.get(name)
    if not isinstance(raw, bytes):
        raise WireError(missing, f"header {name} is missing: send it")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise WireError(
            Reason.BAD_HEADER, f"header {name} is not UTF-8: encode it as UTF-8"
        ) from None


def _expect(table: dict[str, bytes | None], name: str, wanted: str, reason: Reason) -> None:
    found = header_text(table, name, reason)
    if found != wanted:
        raise WireError(reason, f"header {name} is {checks.show(found)}: send {wanted!r}")


def _json_bytes(table: dict[str, bytes | None], limits: Limits) -> int:
    raw = table.get(LENGTH_HEADER)
    if not isinstance(raw, bytes) or _DIGITS.fullmatch(raw) is None:
        raise WireError(
            Reason.BAD_HEADER, f"header {LENGTH_HEADER}: send the JSON header's bytes as digits"
        )
    if int(raw) > limits.header_bytes:
        raise WireError(
            Reason.TOO_LARGE,
            f"JSON header of {int(raw)} bytes: send at most {limits.header_bytes}",
        )
    return int(raw)


def _shard(key: bytes | None, attributes: _Attributes, limits: Limits) -> str | None:
    if key is None:
        return None
    stem = f"{attributes.model}/{attributes.version}".encode()
    if key == stem:
        return None
    if not isinstance(key, bytes) or not key.startswith(stem + b"/"):
        raise WireError(
            Reason.BAD_KEY,
            "the key does not match the headers: send model/version or model/version/shard",
        )
    # Names are ASCII: any other byte decodes to a character that names may not have.
    shard = key[len(stem) + 1 :].decode("latin-1")
    try:
        checks.check_name("shard", shard, limits)
    except WireError as error:
        raise WireError(Reason.BAD_KEY, error.detail) from None
    return shard


def _tensors(value: bytes, start: int, outputs: list[Output]) -> dict[str, NDArray[Any]]:
    expected = start + sum(output.size for output in outputs)
    if len(value) != expected:
        raise WireError(
            Reason.BAD_LENGTH,
            f"the value has {len(value)} bytes, but its header describes {expected}",
        )
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, bfloat16, shape, size in outputs:
        count = size // dtype.itemsize
        array = np.frombuffer(value, dtype, count, start).reshape(shape)
        if name not in VECTORS:
            checks.check_finite(name, array, bfloat16=bfloat16)
        arrays[name] = array
        start += size
    return arrays
