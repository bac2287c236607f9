"""Every reason for which the decoder refuses a message."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import orjson
import pytest

from latentwatch.producers.wire import (
    ActivationBatch,
    Headers,
    Limits,
    Message,
    Reason,
    WireError,
    decode,
    encode,
)

MakeBatch: TypeAlias = Callable[..., ActivationBatch]

ROWS, WIDTH = 5, 3
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def with_header(message: Message, name: str, value: bytes | None) -> Message:
    """The message with one header replaced, added, or (None) taken away."""
    headers = [(key, text) for key, text in message.headers if key != name]
    return message._replace(headers=headers + ([] if value is None else [(name, value)]))


def with_json(message: Message, edit: Callable[[dict[str, Any]], Any]) -> Message:
    """The message with its JSON header edited; the length header follows."""
    size = int(dict(message.headers)["inference-header-content-length"])
    header = orjson.loads(message.value[:size])
    edited = edit(header)
    text = orjson.dumps(header if edited is None else edited)
    changed = message._replace(value=text + message.value[size:])
    return with_header(changed, "inference-header-content-length", str(len(text)).encode())


def refusal(message: Message, **options: Any) -> WireError:
    with pytest.raises(WireError) as caught:
        decode(message.value, message.headers, **options)
    assert str(caught.value) == f"{caught.value.reason}: {caught.value.detail}"
    return caught.value


# --- what the decoder refuses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ce_specversion", None, Reason.NOT_CLOUDEVENT),
        ("ce_specversion", b"0.3", Reason.NOT_CLOUDEVENT),
        ("ce_type", None, Reason.NOT_CLOUDEVENT),
        ("ce_type", b"io.latentwatch.activations.v2", Reason.NOT_CLOUDEVENT),
        ("ce_id", None, Reason.NOT_CLOUDEVENT),
        ("ce_id", b"", Reason.BAD_HEADER),
        ("ce_id", b"x" * 257, Reason.BAD_HEADER),
        ("ce_id", b"\xff", Reason.BAD_HEADER),
        ("ce_source", None, Reason.NOT_CLOUDEVENT),
        ("ce_source", b"a\nb", Reason.BAD_HEADER),
        ("ce_source", b"x" * 2049, Reason.BAD_HEADER),
        ("ce_time", None, Reason.NOT_CLOUDEVENT),
        ("ce_time", b"2030-01-01", Reason.BAD_TIME),
        ("ce_time", b"2030-01-01T00:00:00", Reason.BAD_TIME),
        ("ce_time", b"2030-02-30T00:00:00Z", Reason.BAD_TIME),
        ("ce_time", b"2030-01-01T00:00:00+24:00", Reason.BAD_TIME),
        ("ce_time", b"2030-01-01T00:00:00+00:99", Reason.BAD_TIME),
        ("ce_time", "2030-01-0\u0661T00:00:00Z".encode(), Reason.BAD_TIME),
        ("ce_modelname", None, Reason.BAD_HEADER),
        ("ce_modelname", b"../../etc", Reason.BAD_NAME),
        ("ce_modelname", b"..", Reason.BAD_NAME),
        ("ce_modelname", b"-rf", Reason.BAD_NAME),
        ("ce_modelname", b"a b", Reason.BAD_NAME),
        ("ce_modelname", b"signs\n", Reason.BAD_NAME),
        ("ce_modelname", "s\u00efgns".encode(), Reason.BAD_NAME),
        ("ce_modelversion", None, Reason.BAD_HEADER),
        ("ce_modelversion", b"", Reason.BAD_NAME),
        ("ce_modelversion", b"1" * 129, Reason.BAD_NAME),
        ("ce_traceparents", b"", Reason.BAD_TRACEPARENT),
        ("ce_traceparents", TRACEPARENT.encode(), Reason.BAD_TRACEPARENT),
        ("ce_traceparents", b",,,,,", Reason.BAD_TRACEPARENT),
        ("ce_traceparents", b",,,, ", Reason.BAD_TRACEPARENT),
        ("ce_traceparents", b",,\xff,,", Reason.BAD_HEADER),
        ("ce_traceparent", b"", Reason.BAD_TRACEPARENT),
        ("ce_traceparent", TRACEPARENT.upper().encode(), Reason.BAD_TRACEPARENT),
        ("ce_traceparent", b"ff" + TRACEPARENT[2:].encode(), Reason.BAD_TRACEPARENT),
        ("ce_traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", Reason.BAD_TRACEPARENT),
        ("content-type", None, Reason.BAD_HEADER),
        ("content-type", b"application/json", Reason.BAD_HEADER),
        ("inference-header-content-length", None, Reason.BAD_HEADER),
        ("inference-header-content-length", b"", Reason.BAD_HEADER),
        ("inference-header-content-length", b"-1", Reason.BAD_HEADER),
        ("inference-header-content-length", b" 9", Reason.BAD_HEADER),
        ("inference-header-content-length", b"1_0", Reason.BAD_HEADER),
        ("inference-header-content-length", b"9" * 5000, Reason.BAD_HEADER),
        ("inference-header-content-length", b"4194305", Reason.TOO_LARGE),
        ("inference-header-content-length", b"100000", Reason.BAD_LENGTH),
        ("inference-header-content-length", b"0", Reason.BAD_JSON),
    ],
)
def test_headers_are_checked(
    make_batch: MakeBatch, name: str, value: bytes | None, reason: Reason
) -> None:
    assert refusal(with_header(encode(make_batch()), name, value)).reason is reason


@pytest.mark.parametrize(
    "time",
    ["2030-01-01T00:00:00.123456789Z", "2030-01-01t00:00:00z", "2030-01-01T00:00:00-11:30"],
)
def test_every_form_of_rfc_3339_is_accepted(make_batch: MakeBatch, time: str) -> None:
    message = encode(make_batch(time=time))

    assert decode(message.value, message.headers).time == time


def test_a_double_header_is_refused(make_batch: MakeBatch) -> None:
    message = encode(make_batch())
    for extra in (("ce_id", b"other"), ("tracing", b"1")):
        headers = [*message.headers, extra, extra]
        assert refusal(message._replace(headers=headers)).reason is Reason.BAD_HEADER


def test_a_message_without_headers_is_refused(make_batch: MakeBatch) -> None:
    without: list[Headers] = [None, [], {}]
    for headers in without:
        with pytest.raises(WireError) as caught:
            decode(encode(make_batch()).value, headers)
        assert caught.value.reason is Reason.NOT_CLOUDEVENT


def test_a_tombstone_is_refused(make_batch: MakeBatch) -> None:
    with pytest.raises(WireError) as caught:
        decode(None, encode(make_batch()).headers)
    assert caught.value.reason is Reason.BAD_LENGTH


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"signs",
        b"signs/3",
        b"signs/3.1/",
        b"signs/3.1/a/b",
        b"signs/3.1/..",
        b"signs/3.1/\xe9",
        b"signs/3.1a",
        b"other/3.1",
        b"other/3.1/a",
        b"\xff\xfe",
        "signs/3.1",
    ],
)
def test_a_key_that_contradicts_the_headers_is_refused(make_batch: MakeBatch, key: Any) -> None:
    assert refusal(encode(make_batch()), key=key).reason is Reason.BAD_KEY


def test_the_shard_is_read_from_the_key(make_batch: MakeBatch) -> None:
    message = encode(make_batch())

    assert decode(message.value, message.headers, key=b"signs/3.1/host-7").shard == "host-7"
    assert decode(message.value, message.headers, key=b"signs/3.1").shard is None
    assert decode(message.value, message.headers).shard is None


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """An edit of the JSON header: `_set("outputs.0.name", "x")`."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))

    def edit(header: dict[str, Any]) -> None:
        target: Any = header
        for part in parents:
            target = target[part]
        target[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda _: [], Reason.BAD_JSON),
        (lambda _: "text", Reason.BAD_JSON),
        (lambda _: {"outputs": []}, Reason.BAD_JSON),
        (_set("id", "x"), Reason.BAD_JSON),
        (_set("parameters", None), Reason.BAD_JSON),
        (_set("parameters", {}), Reason.BAD_JSON),
        (_set("parameters.more", 1), Reason.BAD_JSON),
        (_set("outputs", {}), Reason.BAD_JSON),
        (_set("outputs", []), Reason.BAD_OUTPUT),
        (_set("outputs.0", None), Reason.BAD_OUTPUT),
        (_set("outputs.0.more", 1), Reason.BAD_OUTPUT),
        (_set("outputs.0.parameters", {}), Reason.BAD_OUTPUT),
        (_set("outputs.0.parameters.more", 1), Reason.BAD_OUTPUT),
        (_set("outputs.0.name", "layer4"), Reason.BAD_OUTPUT),
        (lambda header: header["outputs"].pop(), Reason.BAD_OUTPUT),
        (lambda header: header.update(outputs=header["outputs"][2:]), Reason.BAD_OUTPUT),
        (_set("outputs.0.name", ""), Reason.BAD_NAME),
        (_set("outputs.0.name", 7), Reason.BAD_NAME),
        (_set("outputs.0.name", ["layer1"]), Reason.BAD_NAME),
        (_set("outputs.0.name", "a/b"), Reason.BAD_NAME),
        (_set("outputs.0.name", "x" * 129), Reason.BAD_NAME),
        (_set("outputs.0.datatype", "FP64"), Reason.BAD_DATATYPE),
        (_set("outputs.0.datatype", "INT32"), Reason.BAD_DATATYPE),
        (_set("outputs.0.datatype", []), Reason.BAD_DATATYPE),
        (_set("outputs.2.datatype", "INT64"), Reason.BAD_DATATYPE),
        (_set("outputs.3.datatype", "FP32"), Reason.BAD_DATATYPE),
        (_set("outputs.0.shape", ROWS), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", []), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", [ROWS * WIDTH]), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", [ROWS, WIDTH, 1]), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", [float(ROWS), WIDTH]), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", [True, WIDTH]), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", [-ROWS, -WIDTH]), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", [0, WIDTH]), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", [ROWS, 0]), Reason.BAD_SHAPE),
        (_set("outputs.2.shape", [ROWS, 1]), Reason.BAD_SHAPE),
        (_set("outputs.0.shape", [2**63, WIDTH]), Reason.TOO_LARGE),
        (_set("outputs.0.shape", [1025, WIDTH]), Reason.TOO_LARGE),
        (_set("outputs.0.shape", [ROWS, 65537]), Reason.TOO_LARGE),
        (_set("outputs.0.shape", [ROWS, WIDTH + 1]), Reason.BAD_LENGTH),
        (_set("outputs.0.parameters.binary_data_size", 0), Reason.BAD_LENGTH),
        (_set("outputs.0.parameters.binary_data_size", None), Reason.BAD_LENGTH),
        (_set("outputs.0.parameters.binary_data_size", 4.0 * ROWS * WIDTH), Reason.BAD_LENGTH),
        (_set("outputs.0.parameters.binary_data_size", 2**64 - 1), Reason.BAD_LENGTH),
        (_set("outputs", [None] * 19), Reason.TOO_LARGE),
        (_set("parameters.request_ids", None), Reason.BAD_IDS),
        (_set("parameters.request_ids", "abcde"), Reason.BAD_IDS),
        (_set("parameters.request_ids", {}), Reason.BAD_IDS),
        (_set("parameters.request_ids", []), Reason.BAD_IDS),
        (_set("parameters.request_ids", [*"abcd"]), Reason.BAD_IDS),
        (_set("parameters.request_ids", [*"abcd", 1]), Reason.BAD_IDS),
        (_set("parameters.request_ids", [*"abcd", ["e"]]), Reason.BAD_IDS),
        (_set("parameters.request_ids", [*"abcd", ""]), Reason.BAD_IDS),
        (_set("parameters.request_ids", [*"abcd", "d"]), Reason.BAD_IDS),
        (_set("parameters.request_ids", [*"abcd", "e" * 257]), Reason.BAD_IDS),
        (_set("parameters.input_refs", "abcde"), Reason.BAD_REFS),
        (_set("parameters.input_refs", [None]), Reason.BAD_REFS),
        (_set("parameters.input_refs", [*"abcd", 5]), Reason.BAD_REFS),
        (_set("parameters.input_refs", [*"abcd", "e" * 2049]), Reason.BAD_REFS),
        (_set("parameters.clients", "abcde"), Reason.BAD_CLIENTS),
        (_set("parameters.clients", {}), Reason.BAD_CLIENTS),
        (_set("parameters.clients", [None]), Reason.BAD_CLIENTS),
        (_set("parameters.clients", [*"abcd", 5]), Reason.BAD_CLIENTS),
        (_set("parameters.clients", [*"abcd", ""]), Reason.BAD_CLIENTS),
        (_set("parameters.clients", [*"abcd", "e" * 257]), Reason.BAD_CLIENTS),
    ],
)
def test_the_json_header_is_checked(
    make_batch: MakeBatch, edit: Callable[[Any], Any], reason: Reason
) -> None:
    def edited(header: dict[str, Any]) -> Any:
        changed = edit(header)
        return changed if type(changed) is not dict or "outputs" in changed else None

    assert refusal(with_json(encode(make_batch()), edited)).reason is reason


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"NaN",
        b'{"outputs": NaN}',
        b"[" * 1_500 + b"]" * 1_500,
        b'{"a":' * 1_500 + b"1" + b"}" * 1_500,
        b'"\\ud800"',
        b"\xff",
        b"1e999",
        b"[" * 1_000 + b"]" * 1_000,
        b'{"outputs":[' + b"[" * 900 + b"]" * 900 + b'],"parameters":{"request_ids":[]}}',
    ],
)
def test_hostile_json_is_refused(make_batch: MakeBatch, text: bytes) -> None:
    message = encode(make_batch())._replace(value=text)
    message = with_header(message, "inference-header-content-length", str(len(text)).encode())

    assert refusal(message).reason in (Reason.BAD_JSON, Reason.BAD_OUTPUT)


def test_the_outputs_must_agree_on_the_rows(make_batch: MakeBatch) -> None:
    message = encode(make_batch(activations={"x": np.ones((ROWS, 2), np.float32)}))

    def edit(header: dict[str, Any]) -> None:
        header["outputs"][0]["shape"] = [2 * ROWS, 1]

    assert refusal(with_json(message, edit)).reason is Reason.BAD_SHAPE


def test_missing_and_surplus_bytes_are_refused(make_batch: MakeBatch) -> None:
    message = encode(make_batch())
    for value in (message.value[:-1], message.value + b"\0", message.value * 2):
        assert refusal(message._replace(value=value)).reason is Reason.BAD_LENGTH


def test_limits_are_kept(make_batch: MakeBatch) -> None:
    message = encode(make_batch())
    for limits in (
        Limits(rows=ROWS - 1),
        Limits(layers=1),
        Limits(dimension=WIDTH),
        Limits(value_bytes=len(message.value) - 1),
        Limits(header_bytes=100),
    ):
        assert refusal(message, limits=limits).reason is Reason.TOO_LARGE
    assert refusal(message, limits=Limits(id_length=8)).reason is Reason.BAD_IDS
    assert refusal(message, limits=Limits(ref_length=12)).reason is Reason.BAD_HEADER
    assert refusal(message, limits=Limits(name_length=4)).reason is Reason.BAD_NAME
    assert refusal(message, limits=Limits(latest_ns=10**18)).reason is Reason.BAD_TIME


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "BF16"])
@pytest.mark.parametrize("hostile", [np.nan, -np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(
    make_batch: MakeBatch, datatype: Any, hostile: float
) -> None:
    message = encode(make_batch(), datatype=datatype)
    size = int(dict(message.headers)["inference-header-content-length"])
    full = np.float32(hostile).tobytes()
    raw = {"FP32": full, "FP16": np.float16(hostile).tobytes(), "BF16": full[2:]}[datatype]
    value = bytearray(message.value)
    last = size + len(raw) * (ROWS * WIDTH - 1)
    value[last : last + len(raw)] = raw

    assert refusal(message._replace(value=bytes(value))).reason is Reason.NOT_FINITE


def test_a_negative_class_is_refused(make_batch: MakeBatch) -> None:
    message = encode(make_batch())
    classes, times = message.value[-12 * ROWS : -8 * ROWS], message.value[-8 * ROWS :]
    value = message.value[: -12 * ROWS] + classes[:-4] + b"\xff" * 4 + times

    assert refusal(message._replace(value=value)).reason is Reason.BAD_CLASS


@pytest.mark.parametrize(
    "time_ns", [-1, 0, 1_900_000_000, 946_684_800 * 10**9 - 1, 7_258_118_400 * 10**9, 2**63 - 1]
)
def test_an_implausible_event_time_is_refused(make_batch: MakeBatch, time_ns: int) -> None:
    message = encode(make_batch())
    value = message.value[:-8] + time_ns.to_bytes(8, "little", signed=True)

    assert refusal(message._replace(value=value)).reason is Reason.BAD_TIME


def test_a_refusal_quotes_little_of_the_input(make_batch: MakeBatch) -> None:
    message = with_header(encode(make_batch()), "ce_modelname", b"x" * 100_000)

    assert len(str(refusal(message))) < 400


def test_reasons_are_stable_words() -> None:
    assert {str(reason) for reason in Reason} == {
        "not-cloudevent",
        "bad-header",
        "bad-name",
        "bad-key",
        "bad-time",
        "bad-traceparent",
        "too-large",
        "bad-json",
        "bad-output",
        "bad-datatype",
        "bad-shape",
        "bad-length",
        "not-finite",
        "bad-class",
        "bad-ids",
        "bad-refs",
        "bad-clients",
    }
