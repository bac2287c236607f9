"""Messages as the bytes that a fuzzer mutates; any bytes at all are some message."""

from __future__ import annotations

from collections.abc import Iterator

from latentwatch.stream.core.processor import Incoming

__all__ = ["from_bytes", "to_bytes"]

_NOTHING = 0xFFFFFFFF
"""Length that stands for None: no key, or a tombstone."""


def _field(data: bytes | None) -> bytes:
    if data is None:
        return _NOTHING.to_bytes(4, "little")
    return len(data).to_bytes(4, "little") + data


def to_bytes(
    key: bytes | None, headers: list[tuple[str, bytes | None]], value: bytes | None
) -> bytes:
    """Key, headers and value of a message, each field after its length."""
    fields = [key]
    for name, text in headers:
        fields += [name.encode("utf-8", "surrogatepass"), text]
    return b"".join(map(_field, [*fields, value]))


def _fields(data: bytes) -> Iterator[bytes | None]:
    position = 0
    while position + 4 <= len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        position += 4
        if length == _NOTHING:
            yield None
            continue
        yield data[position : position + length]
        position += length


def from_bytes(data: bytes, offset: int = 0) -> Incoming:
    """Inverse of `to_bytes`; what is cut short or too much is taken as far as it goes."""
    key, *fields = [*_fields(data)] or [None]
    value = fields.pop() if fields else None
    # as aiokafka gives them: names are text, and a value may be None
    names = [(name or b"").decode("utf-8", "backslashreplace") for name in fields[::2]]
    return Incoming(0, offset, key, value, list(zip(names, fields[1::2], strict=False)))  # type: ignore[arg-type]
