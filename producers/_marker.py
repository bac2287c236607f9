"""The end-of-stream message: it has no rows and closes the open hours of a model version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from latentwatch.producers import _checks as checks
from latentwatch.producers._batch import DEFAULT_LIMITS, END_TYPE, SPEC_VERSION, Limits, Message
from latentwatch.producers._decode import Headers, header_table, header_text
from latentwatch.producers.errors import EncodeError, Reason, WireError


class EndOfStream(NamedTuple):
    """The model version whose stream ends on this partition."""

    model: str
    version: str


def encode_end(
    end: EndOfStream, *, source: str, event_id: str, time: str, limits: Limits = DEFAULT_LIMITS
) -> Message:
    """Write the message that makes a worker close the open hours of a model version at once.

    Send it to the partition it is meant for, after the last rows. Replays send it. Rows that arrive
    later are counted as if it had never been sent.

    Parameters
    ----------
    end : EndOfStream
    source, event_id, time : str
        CloudEvents attributes, as in an `ActivationBatch`.

    Raises
    ------
    EncodeError
        A name or attribute is invalid.
    """
    try:
        checks.check_attributes(
            model=end.model,
            version=end.version,
            source=source,
            event_id=event_id,
            time=time,
            traceparent=None,
            limits=limits,
        )
    except WireError as error:
        raise EncodeError(error.detail) from None
    texts = {
        "ce_specversion": SPEC_VERSION,
        "ce_type": END_TYPE,
        "ce_id": event_id,
        "ce_time": time,
        "ce_source": source,
        "ce_modelname": end.model,
        "ce_modelversion": end.version,
    }
    headers = [(name, text.encode()) for name, text in texts.items()]
    return Message(f"{end.model}/{end.version}".encode(), b"", headers)


def read_end(headers: Headers, *, limits: Limits = DEFAULT_LIMITS) -> EndOfStream | None:
    """The model version that an end-of-stream message is about; None for other messages.

    Raises
    ------
    WireError
        The message has the end-of-stream type and is malformed.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    if ("ce_type", END_TYPE.encode()) not in list(pairs):
        return None
    table = header_table(headers)
    end = EndOfStream(
        header_text(table, "ce_modelname", Reason.BAD_HEADER),
        header_text(table, "ce_modelversion", Reason.BAD_HEADER),
    )
    checks.check_name("model", end.model, limits)
    checks.check_name("version", end.version, limits)
    return end
