"""Changes of messages that get past the first checks: lengths, JSON and tensors stay in step.

Bytes changed at random end at the first length that no longer fits. These edits know the format,
keep most of it consistent, and break one thing at a time.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import orjson

from latentwatch.stream.core.processor import Incoming
from tests.fuzz.messages import from_bytes, to_bytes

__all__ = ["mutate"]

LENGTH = "inference-header-content-length"
Bytes = Callable[[bytes], bytes]
"""The fuzzer's own mutation of some bytes."""

WORDS = [
    "",
    "signs",
    "early",
    "deep",
    "predicted_class",
    "event_time_ns",
    "FP32",
    "FP16",
    "BF16",
    "INT32",
    "INT64",
    "FP64",
    "..",
    "a" * 129,
    "x" * 257,
    "\u0000",
    "\u00fc",
    "\U0001f525",
]
NUMBERS = [
    0,
    1,
    2,
    3,
    5,
    6,
    -1,
    31,
    32,
    33,
    1024,
    1025,
    65536,
    65537,
    2**31,
    2**32,
    2**63,
    2**64 - 1,
]
HOSTILE: list[Any] = [None, True, False, 1.5, 1e308, [], {}, [[]], [None], {"a": 1}]
TEXTS = [
    b"",
    b"1.0",
    b"0.3",
    b"io.latentwatch.activations.v1",
    b"io.latentwatch.end-of-stream.v1",
    b"application/octet-stream",
    b"signs",
    b"ghost",
    b"1",
    b"..",
    b"\xff",
    b"0",
    b"4194304",
    b"9" * 11,
    b"1970-01-01T00:00:00Z",
    b"2100-02-29T24:00:00Z",
    b"2024-10-04t00:00:00.123456789+14:00",
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"00-" + b"0" * 32 + b"-" + b"0" * 16,
]
PATTERNS = [
    b"\x00\x00\xc0\x7f",
    b"\x00\x00\x80\xff",
    b"\x01\x00\x00\x00",
    b"\xff\xff\x7f\x7f",
    b"\x00\x7c",
    b"\xff\xff\xff\xff",
    struct.pack("<q", 0),
    struct.pack("<q", 4_102_444_800 * 10**9),
    struct.pack("<q", 2**63 - 1),
    struct.pack("<q", -(2**63)),
    struct.pack("<i", 2),
    b"\x80\x7f",
]
"""Floats that are not finite, denormal or largest; times in 1970 and 2100; an unknown class."""
SIZES = {"FP32": 4, "FP16": 2, "BF16": 2, "INT32": 4, "INT64": 8}


def mutate(data: bytes, most: int, seed: int, fuzzer: Bytes) -> bytes:
    """Change a message, given as `to_bytes` has it, at one or several places."""
    rng = random.Random(seed)
    if rng.random() < 0.1:
        return fuzzer(data)[:most]
    message = from_bytes(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        message = rng.choice((_json, _json, _json, _tensors, _tensors, _headers, _key, _cut))(
            message, rng, fuzzer
        )
    changed = to_bytes(message.key, list(message.headers), message.value)
    return changed if len(changed) <= most else data[:most]


def _split(message: Incoming) -> tuple[bytes, bytes]:
    value = message.value or b""
    length = dict(message.headers).get(LENGTH) or b""
    at = min(int(length), len(value)) if length.isdigit() and len(length) < 9 else len(value) // 2
    return value[:at], value[at:]


def _with_length(message: Incoming, text: bytes) -> Incoming:
    headers = [
        (name, str(len(text)).encode() if name == LENGTH else old) for name, old in message.headers
    ]
    return message._replace(headers=headers)


def _json(message: Incoming, rng: random.Random, fuzzer: Bytes) -> Incoming:
    """Edit the JSON header; the tensors follow it in most cases, their length in nearly all."""
    text, tensors = _split(message)
    try:
        header = orjson.loads(text)
    except orjson.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or rng.random() < 0.1:
        text = fuzzer(text) or b"{}"
    else:
        rng.choice((_edit_anywhere, _edit_output, _edit_rows, _edit_order))(header, rng)
        # integers beyond 64 bits are wanted as well, so not orjson's own writer
        text = json.dumps(header).encode("utf-8", "backslashreplace")
        tensors = _fitted(header, tensors) if rng.random() < 0.8 else tensors
    message = message._replace(value=text + tensors)
    return message if rng.random() < 0.05 else _with_length(message, text)


def _scalar(rng: random.Random) -> Any:
    return rng.choice((rng.choice(WORDS), rng.choice(NUMBERS), rng.choice(HOSTILE)))


def _edit_anywhere(header: Any, rng: random.Random) -> None:
    parent = header
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        if not keys:
            return
        key = rng.choice(keys)
        if not isinstance(parent[key], (dict, list)) or rng.random() < 0.2:
            break
        parent = parent[key]
    action = rng.random()
    if action < 0.7:
        parent[key] = _scalar(rng)
    elif action < 0.85:
        del parent[key]
    elif isinstance(parent, dict):
        parent[str(_scalar(rng))[:20]] = _scalar(rng)
    else:
        parent.append(parent[key])


def _outputs(header: dict[str, Any]) -> list[dict[str, Any]]:
    found = header.get("outputs")
    return [o for o in found if isinstance(o, dict)] if isinstance(found, list) else []


def _edit_output(header: dict[str, Any], rng: random.Random) -> None:
    """Another data type, width or name of one layer, consistently."""
    if not (outputs := _outputs(header)):
        return
    output = rng.choice(outputs)
    match rng.randrange(3):
        case 0:
            output["datatype"] = rng.choice(list(SIZES))
        case 1 if isinstance(output.get("shape"), list) and output["shape"]:
            output["shape"][-1] = rng.choice(NUMBERS)
        case _:
            output["name"] = rng.choice(WORDS)
    _state_size(output)


def _edit_rows(header: dict[str, Any], rng: random.Random) -> None:
    """Another number of rows, everywhere."""
    rows = rng.choice((1, 2, 16, 32, 33, 64))
    for output in _outputs(header):
        if isinstance(output.get("shape"), list) and output["shape"]:
            output["shape"][0] = rows
            _state_size(output)
    header["parameters"] = {"request_ids": [f"{rng.randrange(9)}-{row}" for row in range(rows)]}
    if rng.random() < 0.3:
        header["parameters"]["input_refs"] = [rng.choice((None, *WORDS)) for _ in range(rows)]
    if rng.random() < 0.1:
        header["parameters"]["clients"] = [rng.choice((None, *WORDS)) for _ in range(rows)]


def _edit_order(header: dict[str, Any], rng: random.Random) -> None:
    if isinstance(header.get("outputs"), list):
        rng.shuffle(header["outputs"])


def _state_size(output: dict[str, Any]) -> None:
    try:
        size = SIZES[output["datatype"]]
        for extent in output["shape"]:
            # a text or a list times a large number would be as large
            size *= extent if isinstance(extent, int) else 1
        output["parameters"] = {"binary_data_size": size}
    except (KeyError, TypeError):
        pass


def _fitted(header: dict[str, Any], tensors: bytes) -> bytes:
    """Tensors of as many bytes as the header says; times that are missing are plausible ones."""
    try:
        wanted = sum(output["parameters"]["binary_data_size"] for output in _outputs(header))
    except (KeyError, TypeError):
        return tensors
    if not isinstance(wanted, int) or not 0 <= wanted <= 65_536:
        return tensors
    if wanted <= len(tensors):
        return tensors[:wanted]
    filler = struct.pack("<q", 1_728_000_000 * 10**9)
    return tensors + (filler * (wanted // 8 + 1))[: wanted - len(tensors)]


def _tensors(message: Incoming, rng: random.Random, fuzzer: Bytes) -> Incoming:
    """Other bytes in the tensors, as many as before."""
    text, tensors = _split(message)
    if not tensors:
        return message
    if rng.random() < 0.3:
        changed = fuzzer(tensors)
        tensors = (changed + tensors)[: len(tensors)]
    else:
        pattern = rng.choice(PATTERNS)
        at = rng.randrange(len(tensors)) // len(pattern) * len(pattern)
        tensors = (tensors[:at] + pattern + tensors[at + len(pattern) :])[: len(tensors)]
    return message._replace(value=text + tensors)


def _headers(message: Incoming, rng: random.Random, fuzzer: Bytes) -> Incoming:
    headers = list(message.headers)
    if not headers:
        return message
    at = rng.randrange(len(headers))
    name, text = headers[at]
    match rng.randrange(5):
        case 0:
            headers[at] = (name, rng.choice(TEXTS))
        case 1:
            headers[at] = (name, fuzzer(text or b""))
        case 2:
            del headers[at]
        case 3:
            headers.append((name, rng.choice(TEXTS)))
        case _:
            headers[at] = (name, None)  # type: ignore[assignment]
    return message._replace(headers=headers)


def _key(message: Incoming, rng: random.Random, fuzzer: Bytes) -> Incoming:
    key = message.key or b"signs/1"
    return message._replace(key=rng.choice((None, b"signs/1/a", key + b"/", fuzzer(key))))


def _cut(message: Incoming, rng: random.Random, fuzzer: Bytes) -> Incoming:
    value = message.value or b""
    at = rng.randrange(len(value) + 1)
    return message._replace(value=rng.choice((value[:at], value + value[:at], None)))
