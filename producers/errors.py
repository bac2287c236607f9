"""The exceptions of this package, one tree.

::

    ProducerError
    ├── WireError        bytes from a topic are not an activations message; has ``.reason``
    ├── EncodeError      a batch cannot be written as an activations message
    ├── CaptureError     the capture hook has nothing, or nothing sound, to give
    └── PublisherError   a publisher cannot be built from these settings

Each message says what was found and what to do about it.
"""

from __future__ import annotations

from enum import StrEnum


class ProducerError(Exception):
    """Root of all exceptions that `producers` raises on purpose."""


class Reason(StrEnum):
    """Why a message was refused: short, stable words for counters and dead letters.

    The value of each member is part of the public interface; members may be added, never renamed.
    """

    NOT_CLOUDEVENT = "not-cloudevent"
    """A CloudEvents attribute is missing, or names another version or event type."""
    BAD_HEADER = "bad-header"
    """A Kafka header is double, not UTF-8, too long, or has an impossible value."""
    BAD_NAME = "bad-name"
    """A model, version, shard or layer name has characters that are not allowed, or is too long."""
    BAD_KEY = "bad-key"
    """The message key is not ``model/version`` or ``model/version/shard``, or contradicts the
    headers."""
    BAD_TIME = "bad-time"
    """``ce_time`` is not RFC 3339, or an event time is implausible."""
    BAD_TRACEPARENT = "bad-traceparent"
    """``ce_traceparent`` is not a W3C trace parent, or ``ce_traceparents`` not one of each row."""
    TOO_LARGE = "too-large"
    """The message, its JSON header, its rows, layers or dimensions exceed the limits."""
    BAD_JSON = "bad-json"
    """The JSON header does not parse or has other members than the format knows."""
    BAD_OUTPUT = "bad-output"
    """An output is missing, double, or described by other members than the format knows."""
    BAD_DATATYPE = "bad-datatype"
    """An output has a data type that the format does not allow for it."""
    BAD_SHAPE = "bad-shape"
    """A shape is not ``[B, d]`` (layers) or ``[B]``, or the outputs disagree on ``B``."""
    BAD_LENGTH = "bad-length"
    """Shape, ``binary_data_size`` and the bytes that are there disagree."""
    NOT_FINITE = "not-finite"
    """A layer holds NaN or infinity."""
    BAD_CLASS = "bad-class"
    """A predicted class is negative."""
    BAD_IDS = "bad-ids"
    """The request ids are not ``B`` different non-empty strings of a sane length."""
    BAD_CLIENTS = "bad-clients"
    """``clients`` is not one string or null for each row, or a client is empty or too long."""
    BAD_REFS = "bad-refs"
    """The input references are not ``B`` strings or nulls of a sane length."""


class WireError(ProducerError):
    """A message is not a valid activations message. The only exception of `producers.wire.decode`.

    Parameters
    ----------
    reason : Reason
        Stable machine word; label counters and dead letters with it.
    detail : str
        One sentence for people. Quotes at most a short part of the untrusted input.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class EncodeError(ProducerError):
    """A batch cannot be written as a message; the text names the field and says what to do."""


class CaptureError(ProducerError):
    """The capture hook cannot serve: no module matched, a module did not run, rows disagree."""


class PublisherError(ProducerError):
    """A publisher cannot be built: a name or number among its settings is out of range."""
