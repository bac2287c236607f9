"""Trace parents of the newest messages, so that an alert can name those of its requests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from latentwatch.stream.core.processor import Incoming

__all__ = ["RecentTraces"]

MOST_BYTES = 16 << 20
"""What is kept at most; a message of 128 requests with a trace each takes about 12 kB."""

MOST_DIGITS = 10
"""Of a length that the wire format allows; Python refuses to parse very long ones."""

OVERHEAD_BYTES = 500
"""What a message costs besides its own bytes."""


class _Message(NamedTuple):
    traceparent: str
    traceparents: bytes
    json_header: bytes

    @property
    def size(self) -> int:
        return OVERHEAD_BYTES + len(self.traceparents) + len(self.json_header)


class RecentTraces:
    """Trace parents by partition, offset and request id; the oldest messages are forgotten.

    Parameters
    ----------
    most_bytes : int, optional
        Memory that it takes, about.

    Notes
    -----
    Messages are kept as they came and parsed when an alert asks, which is rare. Nothing survives
    a restart: who needs the traces of an older message reads that message.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._messages: OrderedDict[tuple[int, int], _Message] = OrderedDict()

    def add(self, messages: Iterable[Incoming]) -> None:
        """Keep the messages that bring traces."""
        for incoming in messages:
            headers = dict(incoming.headers)
            if (one := headers.get("ce_traceparent")) is None:
                continue
            each = headers.get("ce_traceparents") or b""
            size = headers.get("inference-header-content-length") or b""
            # the ids tell which row a request is; with one trace for all rows nobody asks
            known = each and size.isdigit() and len(size) <= MOST_DIGITS
            ids = (incoming.value or b"")[: int(size)] if known else b""
            kept = _Message(one.decode("ascii", "replace"), each, ids)
            self._forget(incoming.partition, incoming.offset)
            self._messages[incoming.partition, incoming.offset] = kept
            self._bytes += kept.size
        while self._bytes > self._most_bytes:
            self._bytes -= self._messages.popitem(last=False)[1].size

    def find(self, partition: int, offset: int, request_id: str) -> str | None:
        """Trace parent of a request, None if it had none or is too long ago."""
        message = self._messages.get((partition, offset))
        if message is None:
            return None
        if not message.traceparents:
            return message.traceparent
        try:
            ids = orjson.loads(message.json_header)["parameters"]["request_ids"]
            row = ids.index(request_id)
            return message.traceparents.decode().split(",")[row] or None
        except (ValueError, LookupError, TypeError, AttributeError):
            return None  # the message was refused, and no alert speaks of it

    def _forget(self, partition: int, offset: int) -> None:
        if (former := self._messages.pop((partition, offset), None)) is not None:
            self._bytes -= former.size
