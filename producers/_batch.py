"""The types of the wire format: a batch, a message, the limits, the fixed names."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentwatch.producers._floats import widen_bfloat16

EVENT_TYPE = "io.latentwatch.activations.v1"
END_TYPE = "io.latentwatch.end-of-stream.v1"
SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/octet-stream"

CONTENT_TYPE_HEADER = "content-type"
LENGTH_HEADER = "inference-header-content-length"
TRACEPARENT_HEADER = "ce_traceparent"
TRACEPARENTS_HEADER = "ce_traceparents"
PREDICTED = "predicted_class"
EVENT_TIME = "event_time_ns"

FloatType = Literal["FP32", "FP16", "BF16"]
"""Data types that a layer may have on the wire."""

LAYER_DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
PREDICTED_DTYPE = np.dtype("<i4")
EVENT_TIME_DTYPE = np.dtype("<i8")


def _new_id() -> str:
    return str(uuid.uuid4())


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Limits:
    """The size limits of a message. Both `encode` and `decode` check them.

    ==================  =========  ==========================================================
    field               default    bounds
    ==================  =========  ==========================================================
    ``rows``            1024       requests in one message
    ``layers``          16         layers in one message
    ``dimension``       65536      values of one layer in one row
    ``value_bytes``     16 MiB     the whole message value (Kafka's own default is 1 MiB)
    ``header_bytes``    4 MiB      the JSON header alone: small text can parse to large objects
    ``id_length``       256        characters of a request id, of a client, and of ``ce_id``
    ``ref_length``      2048       characters of an input reference, and of ``ce_source``
    ``name_length``     128        characters of a model, version, shard or layer name
    ``earliest_ns``     2000       event times before this are refused (ns since 1970, UTC)
    ``latest_ns``       2200       event times at or after this are refused (ns since 1970, UTC)
    ==================  =========  ==========================================================
    """

    rows: int = 1024
    layers: int = 16
    dimension: int = 65_536
    value_bytes: int = 16 * 2**20
    header_bytes: int = 4 * 2**20
    id_length: int = 256
    ref_length: int = 2048
    name_length: int = 128
    earliest_ns: int = 946_684_800 * 10**9
    latest_ns: int = 7_258_118_400 * 10**9


DEFAULT_LIMITS = Limits()


class Message(NamedTuple):
    """One Kafka message as a producer sends it: key, value and headers."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Traces(NamedTuple):
    """The trace parents of a batch: one for all rows, or one per row."""

    traceparent: str | None
    traceparents: list[str | None] | None


def traces_of(rows: Sequence[str | None]) -> Traces:
    """The shortest encoding of the trace parents of rows.

    If they differ, the first one also becomes that of the message, for readers that do not know
    ``ce_traceparents``.
    """
    different = dict.fromkeys(rows)
    first = next((text for text in different if text is not None), None)
    return Traces(first, list(rows) if len(different) > 1 else None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActivationBatch:
    """A micro-batch of requests to one model version: the content of one message.

    Parameters
    ----------
    model, version : str
        Letters, digits, ``.``, ``_``, ``-``; the first character is not ``.`` or ``-``.
    activations : mapping of str to array [B, d]
        One array per layer: float32, float16, or uint16 holding bfloat16 bits (then the layer
        is named in `bfloat16`). Names as for models; ``predicted_class`` and ``event_time_ns``
        are reserved.
    predicted : int32 array [B]
        Predicted class of each request, counted from 0.
    event_time_ns : int64 array [B]
        When each request happened, nanoseconds since 1970-01-01 UTC.
    request_ids : sequence of str, B of them
        Non-empty and unique within the batch.
    source : str
        The inference service, a URI reference (``ce_source``).
    input_refs : sequence of str or None, B of them, optional
        Links to the stored inputs.
    clients : sequence of str or None, B of them, optional
        The client that sent each request; a pseudonym is enough.
    event_id : str, optional
        Unique per message (``ce_id``); a random UUID by default.
    time : str, optional
        When the message was created, RFC 3339 (``ce_time``); now by default.
    traceparent : str, optional
        W3C trace parent of all rows or, if `traceparents` is given, of the message
        (``ce_traceparent``).
    traceparents : sequence of str or None, B of them, optional
        W3C trace parent of each row, if they differ (``ce_traceparents``).
    shard : str, optional
        Third part of the key, to spread a hot model over partitions.
    bfloat16 : frozenset of str, optional
        Layers whose uint16 arrays hold bfloat16 bits.

    Notes
    -----
    Construction checks nothing; `encode` does. A batch from `decode` has been checked. Its arrays
    are read-only views into the message's bytes, little-endian and possibly unaligned: numpy
    handles that, `torch.from_numpy` needs a copy first.
    """

    model: str
    version: str
    activations: Mapping[str, NDArray[Any]]
    predicted: NDArray[np.int32]
    event_time_ns: NDArray[np.int64]
    request_ids: Sequence[str]
    source: str
    input_refs: Sequence[str | None] | None = None
    clients: Sequence[str | None] | None = None
    event_id: str = field(default_factory=_new_id)
    time: str = field(default_factory=_now)
    traceparent: str | None = None
    traceparents: Sequence[str | None] | None = None
    shard: str | None = None
    bfloat16: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """Number of rows (requests) in the batch."""
        return len(self.request_ids)

    def __repr__(self) -> str:
        layers = {name: array.shape for name, array in self.activations.items()}
        return f"<ActivationBatch {self.model}/{self.version} rows={len(self)} layers={layers}>"

    @property
    def row_traceparents(self) -> Sequence[str | None]:
        """W3C trace parent of each row, or None."""
        if self.traceparents is not None:
            return self.traceparents
        return [self.traceparent] * len(self)

    def float32(self, layer: str) -> NDArray[np.float32]:
        """Activations of one layer as float32 [B, d].

        No copy if they are float32 already; float16 and bfloat16 are widened exactly.

        Raises
        ------
        KeyError
            The batch has no such layer.
        """
        array = self.activations[layer]
        if layer in self.bfloat16:
            return widen_bfloat16(array)
        return array.astype(np.float32, copy=False)
