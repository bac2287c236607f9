"""Encode an `ActivationBatch` as a Kafka message."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from latentwatch.producers import _checks as checks
from latentwatch.producers._batch import (
    CONTENT_TYPE,
    CONTENT_TYPE_HEADER,
    DEFAULT_LIMITS,
    EVENT_TIME,
    EVENT_TIME_DTYPE,
    EVENT_TYPE,
    LAYER_DTYPES,
    LENGTH_HEADER,
    PREDICTED,
    PREDICTED_DTYPE,
    SPEC_VERSION,
    TRACEPARENT_HEADER,
    TRACEPARENTS_HEADER,
    ActivationBatch,
    FloatType,
    Limits,
    Message,
)
from latentwatch.producers._floats import narrow_bfloat16, narrow_float16
from latentwatch.producers.errors import EncodeError, Reason, WireError

_ALIGNMENT = 8


def encode(
    batch: ActivationBatch,
    *,
    datatype: FloatType | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Message:
    """Write a batch as a Kafka message that `decode` accepts under the same limits.

    Parameters
    ----------
    batch : ActivationBatch
        The batch to send.
    datatype : 'FP32', 'FP16' or 'BF16', optional
        Data type of every layer on the wire; by default each layer keeps its own. Narrowing
        rounds to nearest and saturates at the largest finite value; it never overflows.
    limits : Limits, optional
        The size limits of a message.

    Returns
    -------
    Message
        Key, value and headers. The JSON header is padded with spaces, so that the first layer
        starts on a multiple of eight bytes.

    Raises
    ------
    EncodeError
        The batch breaks a rule of the format; the text says which and what to do.
    """
    if datatype not in (None, *LAYER_DTYPES):
        raise EncodeError(f"datatype {datatype!r}: use {', '.join(LAYER_DTYPES)} or None")
    try:
        _check(batch, limits)
        layers = [_layer(batch, name, datatype, limits) for name in batch.activations]
        return _message(batch, layers, limits)
    except WireError as error:
        raise EncodeError(error.detail) from None


def _check(batch: ActivationBatch, limits: Limits) -> None:
    checks.check_attributes(
        model=batch.model,
        version=batch.version,
        source=batch.source,
        event_id=batch.event_id,
        time=batch.time,
        traceparent=batch.traceparent,
        limits=limits,
    )
    if batch.shard is not None:
        checks.check_name("shard", batch.shard, limits)
    checks.check_extent("layers", len(batch.activations), limits.layers)
    checks.check_extent("rows", len(batch), limits.rows)
    checks.check_request_ids(batch.request_ids, len(batch), limits)
    checks.check_input_refs(batch.input_refs, len(batch), limits)
    checks.check_clients(batch.clients, len(batch), limits)
    checks.check_traceparents(batch.traceparents, len(batch))
    checks.check_predicted(_vector(PREDICTED, batch.predicted, PREDICTED_DTYPE, len(batch)))
    times = _vector(EVENT_TIME, batch.event_time_ns, EVENT_TIME_DTYPE, len(batch))
    checks.check_event_times(times, limits)


def _vector(
    name: str, array: NDArray[Any], dtype: np.dtype[Any], rows: int
) -> NDArray[np.signedinteger[Any]]:
    """The array in wire form; refused unless it has one integer of the right type per row."""
    if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("<") != dtype:
        raise EncodeError(f"{name}: give a numpy array of {dtype.name}")
    if array.shape != (rows,):
        raise EncodeError(f"{name} has shape {array.shape}: give one value per request id, {rows}")
    return np.ascontiguousarray(array, dtype)


def _layer(
    batch: ActivationBatch, name: str, datatype: FloatType | None, limits: Limits
) -> tuple[str, str, NDArray[Any]]:
    """Name, wire data type and wire array of one layer."""
    checks.check_layer_name(name, limits)
    array = batch.activations[name]
    own = _own_datatype(name, array, bfloat16=name in batch.bfloat16)
    if array.ndim != 2 or len(array) != len(batch):
        raise EncodeError(
            f"layer {name} has shape {array.shape}: use [{len(batch)} rows, dimension]"
        )
    checks.check_extent(f"dimensions of layer {name}", array.shape[1], limits.dimension)
    plain = np.ascontiguousarray(array, LAYER_DTYPES[own])
    checks.check_finite(name, plain, bfloat16=own == "BF16")
    if datatype is None or datatype == own:
        return name, own, plain
    return name, datatype, _narrow(batch.float32(name), datatype)


def _own_datatype(name: str, array: NDArray[Any], *, bfloat16: bool) -> FloatType:
    kinds: dict[np.dtype[Any], FloatType] = (
        {np.dtype(np.uint16): "BF16"}
        if bfloat16
        else {np.dtype(np.float32): "FP32", np.dtype(np.float16): "FP16"}
    )
    if isinstance(array, np.ndarray) and array.dtype.newbyteorder("=") in kinds:
        return kinds[array.dtype.newbyteorder("=")]
    raise EncodeError(
        f"layer {name}: give a numpy array of float32 or float16, or of uint16 with bfloat16 bits "
        "and the layer named in bfloat16"
    )


def _narrow(values: NDArray[np.float32], datatype: FloatType) -> NDArray[Any]:
    narrowed: NDArray[Any] = values
    if datatype == "FP16":
        narrowed = narrow_float16(values)
    elif datatype == "BF16":
        narrowed = narrow_bfloat16(values)
    return np.ascontiguousarray(narrowed, LAYER_DTYPES[datatype])


def _message(
    batch: ActivationBatch, layers: list[tuple[str, str, NDArray[Any]]], limits: Limits
) -> Message:
    tensors = [
        *layers,
        (PREDICTED, "INT32", np.ascontiguousarray(batch.predicted, PREDICTED_DTYPE)),
        (EVENT_TIME, "INT64", np.ascontiguousarray(batch.event_time_ns, EVENT_TIME_DTYPE)),
    ]
    header = _json_header(batch, tensors)
    if len(header) > limits.header_bytes:
        raise WireError(Reason.TOO_LARGE, f"JSON header of {len(header)} bytes: send fewer rows")
    value = b"".join([header, *(array.data for _, _, array in tensors)])
    if len(value) > limits.value_bytes:
        raise WireError(Reason.TOO_LARGE, f"value of {len(value)} bytes: send fewer rows")
    return Message(_key(batch), value, _headers(batch, len(header)))


def _json_header(batch: ActivationBatch, tensors: list[tuple[str, str, NDArray[Any]]]) -> bytes:
    parameters: dict[str, Any] = {"request_ids": list(batch.request_ids)}
    if batch.input_refs is not None:
        parameters["input_refs"] = list(batch.input_refs)
    if batch.clients is not None:
        parameters["clients"] = list(batch.clients)
    outputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, datatype, array in tensors
    ]
    try:
        text = orjson.dumps({"outputs": outputs, "parameters": parameters})
    except TypeError as error:
        raise EncodeError(
            f"request_ids, input_refs or clients are not valid Unicode text: {error}"
        ) from None
    # JSON may end with white space, so other readers of the protocol are not affected.
    return text + b" " * (-len(text) % _ALIGNMENT)


def _key(batch: ActivationBatch) -> bytes:
    parts = [batch.model, batch.version, *([batch.shard] if batch.shard is not None else [])]
    return "/".join(parts).encode()


def _headers(batch: ActivationBatch, json_bytes: int) -> list[tuple[str, bytes]]:
    texts = {
        CONTENT_TYPE_HEADER: CONTENT_TYPE,
        LENGTH_HEADER: str(json_bytes),
        "ce_specversion": SPEC_VERSION,
        "ce_type": EVENT_TYPE,
        "ce_id": batch.event_id,
        "ce_time": batch.time,
        "ce_source": batch.source,
        "ce_modelname": batch.model,
        "ce_modelversion": batch.version,
    }
    if batch.traceparent is not None:
        texts[TRACEPARENT_HEADER] = batch.traceparent
    if batch.traceparents is not None:
        texts[TRACEPARENTS_HEADER] = ",".join(text or "" for text in batch.traceparents)
    return [(name, text.encode()) for name, text in texts.items()]
