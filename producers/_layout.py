"""The JSON header of a message: which tensors follow, and the ids of their rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import orjson

from latentwatch.producers import _checks as checks
from latentwatch.producers._batch import (
    EVENT_TIME,
    EVENT_TIME_DTYPE,
    LAYER_DTYPES,
    PREDICTED,
    PREDICTED_DTYPE,
    Limits,
)
from latentwatch.producers.errors import Reason, WireError

_OUTPUT_MEMBERS = {"name", "datatype", "shape", "parameters"}
_TENSOR_MEMBERS = {"binary_data_size"}
VECTORS: dict[str, dict[str, np.dtype[Any]]] = {
    PREDICTED: {"INT32": PREDICTED_DTYPE},
    EVENT_TIME: {"INT64": EVENT_TIME_DTYPE},
}
"""Outputs with one number per row, and the only data type that each may have."""


class Texts(NamedTuple):
    """Ids, references and clients of the rows, not checked yet; None where the message has none."""

    request_ids: Any
    input_refs: Any
    clients: Any


class Output(NamedTuple):
    """One tensor as the JSON header describes it: its size is checked, its values not yet."""

    name: str
    dtype: np.dtype[Any]
    bfloat16: bool
    shape: tuple[int, ...]
    size: int


def read_layout(value: bytes | None, json_bytes: int, limits: Limits) -> tuple[list[Output], Texts]:
    """Parse the JSON header into its outputs and the texts of the rows."""
    if not isinstance(value, bytes) or len(value) < json_bytes:
        raise WireError(
            Reason.BAD_LENGTH,
            f"the value is shorter than its JSON header of {json_bytes} bytes: send all of it",
        )
    if len(value) > limits.value_bytes:
        raise WireError(
            Reason.TOO_LARGE, f"value of {len(value)} bytes: send at most {limits.value_bytes}"
        )
    header = _members(_parse(value[:json_bytes]), {"outputs", "parameters"}, Reason.BAD_JSON)
    parameters = header["parameters"]
    refs = clients = None
    if isinstance(parameters, dict):
        refs, clients = parameters.pop("input_refs", None), parameters.pop("clients", None)
    ids = _members(parameters, {"request_ids"}, Reason.BAD_JSON)["request_ids"]
    return _outputs(header["outputs"], limits), Texts(ids, refs, clients)


def _parse(text: bytes) -> object:
    try:
        parsed: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WireError(Reason.BAD_JSON, f"the JSON header does not parse: {error.msg}") from None
    return parsed


def _members(found: object, wanted: set[str], reason: Reason) -> dict[str, Any]:
    """Return the JSON object, or refuse it unless it has exactly the wanted members."""
    if not isinstance(found, dict) or found.keys() != wanted:
        raise WireError(reason, f"send a JSON object of exactly {', '.join(sorted(wanted))}")
    return found


def _outputs(found: object, limits: Limits) -> list[Output]:
    if not isinstance(found, list):
        raise WireError(Reason.BAD_JSON, "outputs is not an array: send one")
    if len(found) > limits.layers + len(VECTORS):
        raise WireError(
            Reason.TOO_LARGE, f"{len(found)} outputs: send at most {limits.layers} layers"
        )
    outputs = [_output(item, limits) for item in found]
    names = {output.name for output in outputs}
    if len(names) != len(outputs) or not names > VECTORS.keys():
        raise WireError(
            Reason.BAD_OUTPUT,
            f"send {PREDICTED}, {EVENT_TIME} and at least one layer, each under its own name",
        )
    if len({output.shape[0] for output in outputs}) != 1:
        raise WireError(
            Reason.BAD_SHAPE, "the outputs have different row counts: send one row per request id"
        )
    return outputs


def _output(found: object, limits: Limits) -> Output:
    members = _members(found, _OUTPUT_MEMBERS, Reason.BAD_OUTPUT)
    tensor = _members(members["parameters"], _TENSOR_MEMBERS, Reason.BAD_OUTPUT)
    name, datatype, size = members["name"], members["datatype"], tensor["binary_data_size"]
    dtype = _dtype(name, datatype, limits)
    shape = _shape(name, members["shape"], limits)
    expected = dtype.itemsize
    for extent in shape:
        expected *= extent
    if type(size) is not int or size != expected:
        raise WireError(
            Reason.BAD_LENGTH,
            f"{name}: binary_data_size is {checks.show(size)}, but its shape needs {expected}",
        )
    return Output(name, dtype, datatype == "BF16", shape, size)


def _dtype(name: object, datatype: object, limits: Limits) -> np.dtype[Any]:
    """Data type of an output; checks its name as well."""
    if isinstance(name, str) and name in VECTORS:
        known = VECTORS[name]
    else:
        checks.check_layer_name(name, limits)
        known = LAYER_DTYPES
    if isinstance(datatype, str) and datatype in known:
        return known[datatype]
    raise WireError(
        Reason.BAD_DATATYPE, f"{name}: datatype {checks.show(datatype)}, use {' or '.join(known)}"
    )


def _shape(name: str, found: object, limits: Limits) -> tuple[int, ...]:
    axes = 1 if name in VECTORS else 2
    # bool is a subclass of int, so `true` would pass an isinstance check
    if not isinstance(found, list) or len(found) != axes or not set(map(type, found)) <= {int}:
        raise WireError(Reason.BAD_SHAPE, f"{name}: send a shape of {axes} integers")
    checks.check_extent("rows", found[0], limits.rows)
    if axes == 2:
        checks.check_extent("dimensions", found[1], limits.dimension)
    return tuple(found)
