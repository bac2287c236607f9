"""The exceptions of `latentwatch.producers`, one tree.

::

    ProducerError
    ├── WireError        a Kafka message is not a valid activations message; has ``.reason``
    ├── EncodeError      a batch cannot be written as an activations message
    ├── CaptureError     the capture hook matches nothing, or captured nothing usable
    └── PublisherError   a publisher cannot be built or started with these settings

Each text says what is wrong and what to do about it.
"""

from __future__ import annotations

from enum import StrEnum


class ProducerError(Exception):
    """Base class of all exceptions that `latentwatch.producers` raises on purpose."""


class Reason(StrEnum):
    """Why a message was refused: short, stable words for counters and dead letters.

    The value of each member is part of the public interface; members may be added, never renamed.
    """

    NOT_CLOUDEVENT = "not-cloudevent"
    """A CloudEvents attribute is missing, or names another version or event type."""
    BAD_HEADER = "bad-header"
    """A Kafka header occurs twice, is not UTF-8, is too long, or has an invalid value."""
    BAD_NAME = "bad-name"
    """A model, version, shard or layer name has characters that are not allowed, or is too long."""
    BAD_KEY = "bad-key"
    """The message key is not ``model/version`` or ``model/version/shard``, or contradicts the
    headers."""
    BAD_TIME = "bad-time"
    """``ce_time`` is not RFC 3339, or an event time is implausible."""
    BAD_TRACEPARENT = "bad-traceparent"
    """``ce_traceparent`` or an entry of ``ce_traceparents`` is not a W3C trace parent, or the
    number of entries is not the number of rows."""
    TOO_LARGE = "too-large"
    """The message, its JSON header, its rows, layers or dimensions exceed the limits."""
    BAD_JSON = "bad-json"
    """The JSON header does not parse, or its members are not exactly those of the format."""
    BAD_OUTPUT = "bad-output"
    """An output is missing, occurs twice, or its members are not exactly those of the format."""
    BAD_DATATYPE = "bad-datatype"
    """An output has a data type that the format does not allow for it."""
    BAD_SHAPE = "bad-shape"
    """A shape is not ``[B, d]`` (layers) or ``[B]``, or the outputs disagree on ``B``."""
    BAD_LENGTH = "bad-length"
    """Shape, ``binary_data_size`` and the length of the value disagree."""
    NOT_FINITE = "not-finite"
    """A layer holds NaN or infinity."""
    BAD_CLASS = "bad-class"
    """A predicted class is negative."""
    BAD_IDS = "bad-ids"
    """The request ids are not ``B`` distinct non-empty strings within the length limit."""
    BAD_CLIENTS = "bad-clients"
    """``clients`` is not one string or null for each row, or a client is empty or too long."""
    BAD_REFS = "bad-refs"
    """The input references are not ``B`` strings or nulls within the length limit."""


class WireError(ProducerError):
    """A message is not a valid activations message; the only exception that `decode` raises.

    Parameters
    ----------
    reason : Reason
        Stable, machine-readable; use it to label counters and dead letters.
    detail : str
        One sentence for people. It quotes at most a short part of the untrusted input.
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
    """Capture failed: no module matched, a module did not run, or row counts differ."""


class PublisherError(ProducerError):
    """A publisher cannot be built or started: a setting is invalid, or it was started before."""
