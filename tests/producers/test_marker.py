"""The end-of-stream message: what is written and read back, and what is refused."""

import pytest

from latentwatch.producers.wire import (
    END_TYPE,
    EncodeError,
    EndOfStream,
    Reason,
    WireError,
    decode,
    encode_end,
    read_end,
)

ATTRIBUTES = {"source": "/replay", "event_id": "e1", "time": "2026-01-05T10:00:00Z"}


def test_what_is_written_is_read() -> None:
    message = encode_end(EndOfStream("resnet", "7"), **ATTRIBUTES)
    assert read_end(message.headers) == EndOfStream("resnet", "7")
    assert read_end(dict(message.headers)) == EndOfStream("resnet", "7")
    assert (message.key, message.value) == (b"resnet/7", b"")


def test_the_decoder_of_activations_refuses_it() -> None:
    message = encode_end(EndOfStream("resnet", "7"), **ATTRIBUTES)
    with pytest.raises(WireError) as refused:
        decode(message.value, message.headers, key=message.key)
    assert refused.value.reason is Reason.NOT_CLOUDEVENT


@pytest.mark.parametrize(
    "headers", [None, [], [("ce_type", b"other")], [("ce_type", None)], {"ce_type": b"\xff"}]
)
def test_messages_of_another_type_end_nothing(headers: object) -> None:
    assert read_end(headers) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "headers",
    [
        [("ce_type", END_TYPE.encode())],
        [("ce_type", END_TYPE.encode()), ("ce_modelname", b"a"), ("ce_modelversion", b"\xff")],
        [("ce_type", END_TYPE.encode()), ("ce_modelname", b"../a"), ("ce_modelversion", b"1")],
        [("ce_type", END_TYPE.encode())] * 2,
    ],
)
def test_a_malformed_end_is_refused(headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(WireError):
        read_end(headers)


@pytest.mark.parametrize("end", [EndOfStream("", "1"), EndOfStream("a", "b/c")])
def test_an_end_with_an_invalid_name_is_not_written(end: EndOfStream) -> None:
    with pytest.raises(EncodeError):
        encode_end(end, **ATTRIBUTES)
