"""The end of a stream: a message without rows that closes what is open of a model version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from latentwatch.producers import _checks as checks
from latentwatch.producers._batch import DEFAULT_LIMITS, END_TYPE, SPEC_VERSION, Limits, Message
from latentwatch.producers._decode import Headers, header_table, header_text
from latentwatch.producers.errors import EncodeError, Reason, WireError


class EndOfStream(NamedTuple):
    """Model version of which no more rows follow on a partition, for the time being."""

    model: str
    version: str


def encode_end(
    end: EndOfStream, *, source: str, event_id: str, time: str, limits: Limits = DEFAULT_LIMITS
) -> Message:
    """Write the message that tells a worker to close the open hours of a model version at once.

    It goes to the partition that it is meant for, after its last rows. Replays send it; rows that
    come later are counted as if it had not been there.

    Parameters
    ----------
    end : EndOfStream
    source, event_id, time : str
        CloudEvents attributes, as in an `ActivationBatch`.

    Raises
    ------
    EncodeError
        A name or attribute is not sound.
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
    """What a message ends; None for a message of any other type.

    Raises
    ------
    WireError
        It says that it ends a stream, and is malformed.
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
