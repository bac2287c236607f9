"""Find layers and predictions in the body of a response."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from latentwatch.stream.importers.arrays import classes_of, common_rows, numbers, pooled
from latentwatch.stream.importers.events import Float32, NotImportedError

__all__ = ["Outputs", "parse_body", "parse_json"]

_COLUMNS = re.compile(r"(\d+)(?::(\d+))?")
_NO_NUMBERS = ("BYTES", "BOOL")


@dataclass(frozen=True, slots=True)
class Csv:
    """A table without a header, [n, columns]."""

    values: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Which parts of a response are wanted.

    Parameters
    ----------
    layers : dict of layer name to key
        In the order of depth.
    predicted : str
        Key of the predicted class, or of the scores of all classes.
    channels_last : bool
        Whether spatial layers have their channels last.

    Notes
    -----
    A key is the name of an output of the Open Inference Protocol, version 2; or a member of a
    JSON object, with dots between the members on the way to it, looked for in the body and then
    in its ``predictions``, where objects in a list are one request each; or of CSV a column
    ``0``, or columns ``1:65`` without the last, counted from 0.
    """

    layers: dict[str, str]
    predicted: str
    channels_last: bool = False

    def read(self, body: Any) -> tuple[dict[str, Float32], NDArray[np.int64]]:
        """Layers float32 [n, d] by name, and predicted classes int64 [n].

        Raises
        ------
        NotImportedError
            Something is missing, or has another number of rows.
        """
        found = {key: numbers(_find(body, key), key) for key in self._keys}
        if all(found[key].ndim == 1 for key in self.layers.values()):
            found = _of_one_request(found, self.predicted)
        layers = {
            name: pooled(found[key], key, channels_last=self.channels_last)
            for name, key in self.layers.items()
        }
        rows = common_rows(layers)
        return layers, classes_of(found[self.predicted], rows, self.predicted)

    @property
    def _keys(self) -> list[str]:
        return [*self.layers.values(), self.predicted]


def _of_one_request(found: dict[str, NDArray[Any]], predicted: str) -> dict[str, NDArray[Any]]:
    """The same, with a first axis for the request where there is none."""
    return {
        key: values if key == predicted and values.shape == (1,) else values[None]
        for key, values in found.items()
    }


def _find(body: Any, key: str) -> Any:
    """The value under a key, see `Outputs`."""
    if isinstance(body, Csv):
        return _columns(body, key)
    if isinstance(body, dict) and isinstance(body.get("outputs"), list):
        return _tensor(body["outputs"], key)
    try:
        return _pick(body, key)
    except LookupError:
        pass
    try:
        return _pick(body["predictions"], key)
    except (LookupError, TypeError):
        raise NotImportedError("no such output", f"{key} is not in the response") from None


def _pick(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return [_pick(one, key) for one in value]
    if isinstance(value, dict):
        if key in value:
            return value[key]
        for name, inner in value.items():
            if key.startswith(f"{name}."):
                return _pick(inner, key[len(name) + 1 :])
    raise LookupError(key)


def _tensor(outputs: list[Any], key: str) -> NDArray[Any]:
    """An output of the Open Inference Protocol; its data may be flat or nested."""
    named = {one["name"]: one for one in outputs if isinstance(one, dict) and "name" in one}
    if key not in named:
        have = ", ".join(map(str, named)) or "none"
        raise NotImportedError("no such output", f"{key} is not among the outputs: {have}")
    found = named[key]
    if "data" not in found or found.get("datatype") in _NO_NUMBERS:
        raise NotImportedError(
            "no numbers",
            f"output {key} has no numbers in JSON: log it without the binary extension",
        )
    values = numbers(found["data"], key)
    try:
        return values.reshape([int(extent) for extent in found.get("shape", values.shape)])
    except (ValueError, TypeError):
        raise NotImportedError(
            "wrong shape", f"output {key} has {values.size} values and the shape {found['shape']}"
        ) from None


def _columns(table: Csv, key: str) -> NDArray[Any]:
    found = _COLUMNS.fullmatch(key)
    width = table.values.shape[1]
    if found is None:
        raise NotImportedError("no such output", f"{key} is not a column of CSV: use 0, or 1:65")
    first = int(found[1])
    last = int(found[2]) if found[2] else first + 1
    if not first < last <= width:
        raise NotImportedError("no such output", f"columns {key} of a CSV output of {width}")
    return table.values[:, first:last]


def parse_json(content: bytes | str) -> Any:
    """A JSON value; NaN and Infinity are taken as Python writes them, though JSON has neither.

    Raises
    ------
    NotImportedError
        Not JSON, or cut short.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotImportedError(
            "not JSON", f"cut short, or of another format: {str(error)[:80]}"
        ) from None


def parse_body(content: str, content_type: str, encoding: str) -> Any:
    """Body of a response that data capture stored as text.

    Parameters
    ----------
    content : str
        As it stands in ``data``.
    content_type : str
        ``observedContentType``.
    encoding : str
        ``JSON``, ``CSV``, or ``BASE64`` of either.
    """
    kind = encoding.upper()
    if kind == "BASE64":
        try:
            content = base64.b64decode(content, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise NotImportedError("not base64", "data is not base64 of text") from None
        kind = "CSV" if "csv" in content_type.lower() else "JSON"
    if kind == "CSV":
        rows = [row for row in csv.reader(io.StringIO(content)) if row]
        return Csv(np.atleast_2d(numbers(rows, "the CSV output")))
    if kind != "JSON":
        raise NotImportedError(
            "unknown encoding", f"{encoding[:20]!r}: JSON, CSV, BASE64 are known"
        )
    if "jsonlines" in content_type.lower():
        return [parse_json(line) for line in content.splitlines() if line.strip()]
    return parse_json(content)
