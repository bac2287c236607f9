"""Compact binary records of the internal topics: a JSON header and some blobs, compressed."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from latentwatch.detector import SketchError
from latentwatch.stream.core.errors import StateError

__all__ = ["pack", "reading", "unpack"]

_MAGIC = b"LWF1"

_DAMAGE = (
    ValueError, LookupError, TypeError, AttributeError, struct.error, zlib.error, SketchError
)  # fmt: skip


def pack(header: dict[str, Any], blobs: list[bytes]) -> bytes:
    """Serialise a header and blobs; the same input gives the same bytes.

    The order of the members is kept: alerts that a state carries are published from it, and must
    read as if there had been no restart.
    """
    head = orjson.dumps({**header, "blobs": [len(b) for b in blobs]})
    body = struct.pack("<I", len(head)) + head + b"".join(blobs)
    return _MAGIC + zlib.compress(body, level=1)


@contextmanager
def reading(data: bytes) -> Iterator[None]:
    """Turn any error that damaged or foreign bytes cause into a `StateError`."""
    try:
        yield
    except _DAMAGE as error:
        raise StateError(
            f"{len(data)} bytes in an internal topic are not a record of this version ({error!r}): "
            "only workers may write there; delete the record, or the topic, to start over"
        ) from error


def unpack(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Inverse of `pack`; raises `StateError` on anything else."""
    with reading(data):
        if data[:4] != _MAGIC:
            raise ValueError("wrong magic number")
        stream = zlib.decompressobj()
        body = stream.decompress(data[4:])
        if not stream.eof or stream.unused_data:
            raise ValueError("cut short, or too long")
        (length,) = struct.unpack_from("<I", body)
        header = orjson.loads(body[4 : 4 + length])
        blobs, position = [], 4 + length
        for size in header.pop("blobs"):
            blobs.append(body[position : position + size])
            position += size
        if position != len(body):
            raise ValueError("the lengths do not add up")
    return header, blobs
