"""The wire format: what is written and read back, and what the encoder refuses."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import orjson
import pytest

from latentwatch.producers.wire import (
    ActivationBatch,
    EncodeError,
    Limits,
    decode,
    encode,
    traces_of,
)

MakeBatch: TypeAlias = Callable[..., ActivationBatch]

ROWS, WIDTH = 5, 3
JSON_BYTES = "inference-header-content-length"


def assert_same(left: ActivationBatch, right: ActivationBatch) -> None:
    for name in ("model", "version", "source", "event_id", "time", "traceparent", "shard"):
        assert getattr(left, name) == getattr(right, name)
    assert list(left.request_ids) == list(right.request_ids)
    assert (left.input_refs, left.clients) == (right.input_refs, right.clients)
    assert left.bfloat16 == right.bfloat16
    np.testing.assert_array_equal(left.predicted, right.predicted)
    np.testing.assert_array_equal(left.event_time_ns, right.event_time_ns)
    assert list(left.activations) == list(right.activations)
    for name, array in left.activations.items():
        assert array.dtype == right.activations[name].dtype
        np.testing.assert_array_equal(array, right.activations[name])


def test_a_batch_survives_the_wire(make_batch: MakeBatch) -> None:
    batch = make_batch()

    key, value, headers = encode(batch)

    assert key == b"signs/3.1/a"
    assert_same(batch, decode(value, headers, key=key))


def test_rows_of_several_traces_keep_their_own(make_batch: MakeBatch) -> None:
    one, other = (f"00-{n:032x}-{n:016x}-01" for n in (1, 2))
    batch = make_batch(**traces_of([None, one, other, other, None])._asdict())

    _, value, headers = encode(batch)
    back = decode(value, headers)

    assert dict(headers)["ce_traceparent"].decode() == one
    assert dict(headers)["ce_traceparents"].decode() == f",{one},{other},{other},"
    assert back.row_traceparents == [None, one, other, other, None]


def test_a_trace_that_all_rows_share_is_written_once(make_batch: MakeBatch) -> None:
    one = f"00-{1:032x}-{1:016x}-01"
    batch = make_batch(**traces_of([one] * 5)._asdict())

    _, value, headers = encode(batch)

    assert "ce_traceparents" not in dict(headers)
    assert decode(value, headers).row_traceparents == [one] * 5


def test_without_options_nothing_optional_is_written(make_batch: MakeBatch) -> None:
    batch = make_batch(input_refs=None, clients=None, traceparent=None, shard=None)

    key, value, headers = encode(batch)

    assert key == b"signs/3.1"
    assert not {"ce_traceparent", "ce_traceparents"} & dict(headers).keys()
    assert b"input_refs" not in value
    assert b"clients" not in value
    assert_same(batch, decode(value, headers, key=key))


def test_the_bytes_are_those_of_the_specification() -> None:
    message = encode(
        ActivationBatch(
            model="m",
            version="1",
            activations={"x": np.array([[1.0, -2.0]], np.float32)},
            predicted=np.array([7], np.int32),
            event_time_ns=np.array([10**18], np.int64),
            request_ids=["r"],
            source="/s",
            event_id="e",
            time="2030-01-01T00:00:00Z",
        )
    )

    header = orjson.dumps(
        {
            "outputs": [
                _output("x", "FP32", [1, 2], 8),
                _output("predicted_class", "INT32", [1], 4),
                _output("event_time_ns", "INT64", [1], 8),
            ],
            "parameters": {"request_ids": ["r"]},
        }
    )
    padded = header + b" " * (-len(header) % 8)
    tensors = b"\0\0\x80\x3f\0\0\0\xc0" + b"\7\0\0\0" + (10**18).to_bytes(8, "little")
    assert message.value == padded + tensors
    assert dict(message.headers) == {
        "content-type": b"application/octet-stream",
        JSON_BYTES: str(len(padded)).encode(),
        "ce_specversion": b"1.0",
        "ce_type": b"io.latentwatch.activations.v1",
        "ce_id": b"e",
        "ce_time": b"2030-01-01T00:00:00Z",
        "ce_source": b"/s",
        "ce_modelname": b"m",
        "ce_modelversion": b"1",
    }


def _output(name: str, datatype: str, shape: list[int], size: int) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": size},
    }


def test_decoding_copies_no_tensor_data(make_batch: MakeBatch) -> None:
    message = encode(make_batch())
    whole = np.frombuffer(message.value, np.uint8)

    batch = decode(message.value, message.headers)

    for array in (*batch.activations.values(), batch.predicted, batch.event_time_ns):
        assert np.shares_memory(array, whole)
        assert not array.flags.writeable


def test_the_first_layer_is_aligned_whatever_the_ids_are(make_batch: MakeBatch) -> None:
    for length in range(1, 17):
        ids = [f"{row}{'x' * length}" for row in range(ROWS)]
        message = encode(make_batch(request_ids=ids))
        assert decode(message.value, message.headers).activations["layer1"].flags.aligned


def test_unaligned_tensors_are_read_all_the_same(make_batch: MakeBatch) -> None:
    message = encode(make_batch())
    size = int(dict(message.headers)[JSON_BYTES])
    shifted = message._replace(value=message.value[:size] + b" " + message.value[size:])
    headers = dict(shifted.headers) | {JSON_BYTES: str(size + 1).encode()}

    assert_same(make_batch(), decode(shifted.value, headers, key=shifted.key))


def test_headers_may_come_as_a_mapping_and_hold_others(make_batch: MakeBatch) -> None:
    message = encode(make_batch(shard=None))

    batch = decode(message.value, dict(message.headers) | {"b3": b"0", "empty": None})

    assert_same(make_batch(shard=None), batch)


def test_outputs_may_come_in_any_order(make_batch: MakeBatch) -> None:
    batch = make_batch(activations={"x": np.ones((ROWS, 1), np.float32)})
    message = encode(batch)
    size = int(dict(message.headers)[JSON_BYTES])
    header, layer = orjson.loads(message.value[:size]), message.value[size : size + 4 * ROWS]
    header["outputs"].append(header["outputs"].pop(0))
    text = orjson.dumps(header)
    value = text + message.value[size + 4 * ROWS :] + layer
    headers = dict(message.headers) | {JSON_BYTES: str(len(text)).encode()}

    assert_same(batch, decode(value, headers, key=message.key))


def test_float32_layers_are_not_copied_and_narrow_ones_are_widened(make_batch: MakeBatch) -> None:
    bits = np.array([[0x3F80], [0xC000], [0x0000], [0x7F7F], [0x0001]], np.uint16)
    half = np.array([[1.0], [-2.0], [0.5], [65504.0], [6e-8]], np.float16)
    full = np.ones((ROWS, 1), np.float32)
    batch = make_batch(
        activations={"full": full, "half": half, "brain": bits}, bfloat16=frozenset({"brain"})
    )

    assert batch.float32("full") is full
    np.testing.assert_array_equal(batch.float32("half"), half.astype(np.float32))
    assert batch.float32("brain").dtype == np.float32
    expected = np.array([[1.0], [-2.0], [0.0], [(2 - 2**-7) * 2.0**127], [2.0**-133]], np.float32)
    np.testing.assert_array_equal(batch.float32("brain"), expected)
    with pytest.raises(KeyError, match="other"):
        batch.float32("other")


def test_a_data_type_can_be_asked_for(make_batch: MakeBatch) -> None:
    for datatype, itemsize in (("FP32", 4), ("FP16", 2), ("BF16", 2)):
        message = encode(make_batch(), datatype=datatype)  # type: ignore[arg-type]
        batch = decode(message.value, message.headers)
        assert {array.dtype.itemsize for array in batch.activations.values()} == {itemsize}
        for layer, array in make_batch().activations.items():
            np.testing.assert_allclose(batch.float32(layer), array.astype(np.float32), rtol=2**-8)


def test_bfloat16_rounds_to_nearest_even_like_torch(make_batch: MakeBatch) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values) & (np.abs(values) < 3.38e38)][: 1024 * 16]
    values = values[: len(values) // 1024 * 1024].reshape(1024, -1)
    batch = make_batch(
        activations={"x": values},
        predicted=np.zeros(1024, np.int32),
        event_time_ns=np.full(1024, 10**18),
        request_ids=[str(row) for row in range(1024)],
        input_refs=None,
        clients=None,
    )

    message = encode(batch, datatype="BF16")

    narrowed = decode(message.value, message.headers)
    torchs = torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(narrowed.float32("x"), torchs)


def test_narrowing_saturates_instead_of_overflowing(make_batch: MakeBatch) -> None:
    largest = np.finfo(np.float32).max
    values = np.array([[65504.0, 65520.0, 1e30, -largest, largest]], np.float32).repeat(ROWS, 0)
    batch = make_batch(activations={"x": values})

    half = decode(*encode(batch, datatype="FP16")[1:]).float32("x")[0]
    brain = decode(*encode(batch, datatype="BF16")[1:]).float32("x")[0]

    assert half.tolist() == [65504.0, 65504.0, 65504.0, -65504.0, 65504.0]
    assert brain[-1] == -brain[-2] == (2 - 2**-7) * 2.0**127


def test_arrays_of_any_layout_and_byte_order_are_encoded(make_batch: MakeBatch) -> None:
    plain = make_batch()
    strange = make_batch(
        activations={
            "layer1": np.asfortranarray(plain.activations["layer1"].astype(">f4")),
            "layer4": np.repeat(plain.activations["layer4"], 2, axis=0)[::2],
        },
        predicted=plain.predicted.astype(">i4"),
        event_time_ns=np.repeat(plain.event_time_ns, 2)[::2],
        request_ids=tuple(plain.request_ids),
    )

    assert encode(strange) == encode(plain)


def test_ids_and_times_have_defaults(make_batch: MakeBatch) -> None:
    fields = {
        name: getattr(make_batch(), name)
        for name in ("model", "version", "activations", "predicted", "event_time_ns", "source")
    }
    first, second = (
        ActivationBatch(**fields, request_ids=make_batch().request_ids) for _ in range(2)
    )

    assert first.event_id != second.event_id
    message = encode(first)
    assert decode(message.value, message.headers).time == first.time
    assert len(first) == ROWS
    assert "signs/3.1 rows=5" in repr(first)


# --- what the encoder refuses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "a/b"}, "model 'a/b': use"),
        ({"model": ".."}, "model"),
        ({"model": ""}, "model"),
        ({"version": "1\n"}, "version"),
        ({"version": 3}, "version 3"),
        ({"version": "9" * 129}, "version"),
        ({"shard": "a/b"}, "shard"),
        ({"source": ""}, "source"),
        ({"source": None}, "source None"),
        ({"source": "a\x00"}, "source"),
        ({"event_id": "\ud800"}, "event id"),
        ({"event_id": "e" * 257}, "event id"),
        ({"time": "yesterday"}, "RFC 3339"),
        ({"traceparent": "00-0-0-0"}, "traceparent"),
        ({"traceparents": ["00-0-0-0", *[None] * 4]}, "traceparent"),
        ({"traceparents": [None] * 4}, "traceparents: give 5"),
        ({"traceparents": [None, [], None, None, None]}, "traceparents: give 5"),
        ({"traceparents": "00000"}, "traceparents: give 5"),
        ({"activations": {}}, "layers"),
        ({"activations": {"x": [[1.0]] * ROWS}}, "layer x: give a numpy array"),
        ({"activations": {"x": np.ones((ROWS, 1))}}, "layer x: give a numpy array"),
        ({"activations": {"x": np.ones((ROWS, 1), np.uint16)}}, "named in bfloat16"),
        ({"activations": {"x": np.ones(ROWS, np.float32)}}, "layer x has shape"),
        ({"activations": {"x": np.ones((ROWS + 1, 1), np.float32)}}, "layer x has shape"),
        ({"activations": {"x": np.ones((ROWS, 0), np.float32)}}, "dimensions of layer x"),
        ({"activations": {"a b": np.ones((ROWS, 1), np.float32)}}, "layer 'a b'"),
        ({"activations": {"predicted_class": np.ones((ROWS, 1), np.float32)}}, "rename"),
        ({"activations": {"x": np.full((ROWS, 1), np.nan, np.float32)}}, "NaN or infinity"),
        ({"activations": {"x": np.full((ROWS, 1), -np.inf, np.float16)}}, "NaN or infinity"),
        ({"predicted": np.arange(ROWS)}, "predicted_class: give a numpy array of int32"),
        ({"predicted": np.zeros(ROWS + 1, np.int32)}, "predicted_class has shape"),
        ({"predicted": np.full(ROWS, -1, np.int32)}, "classes count from 0"),
        ({"event_time_ns": np.full(ROWS, 1_900_000_000)}, "use nanoseconds"),
        ({"event_time_ns": [10**18] * ROWS}, "event_time_ns: give a numpy array"),
        ({"request_ids": ["same"] * ROWS}, "same id"),
        ({"request_ids": [*"abcd", ""]}, "characters"),
        ({"request_ids": [*"abcd", 5]}, "strings"),
        ({"request_ids": [*"abcd", "\udfff"]}, "Unicode"),
        ({"request_ids": "abcde"}, "strings"),
        ({"request_ids": [], "predicted": np.zeros(0, np.int32)}, "rows"),
        ({"input_refs": ["x"]}, "input_refs"),
        ({"input_refs": ["x" * 2049, *[None] * (ROWS - 1)]}, "input_refs"),
        ({"clients": ["x"]}, "clients: give 5 strings"),
        ({"clients": ["", *[None] * (ROWS - 1)]}, "clients: use 1 to 256 characters"),
    ],
)
def test_the_encoder_says_what_to_do(
    make_batch: MakeBatch, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(EncodeError, match=says):
        encode(make_batch(**changes))


def test_the_encoder_checks_the_limits(make_batch: MakeBatch) -> None:
    for limits in (
        Limits(rows=ROWS - 1),
        Limits(layers=1),
        Limits(dimension=WIDTH),
        Limits(value_bytes=400),
        Limits(header_bytes=100),
        Limits(id_length=3),
        Limits(name_length=4),
    ):
        with pytest.raises(EncodeError, match=r"at most|fewer|use 1 to"):
            encode(make_batch(), limits=limits)


def test_an_unknown_data_type_is_refused(make_batch: MakeBatch) -> None:
    with pytest.raises(EncodeError, match="FP32, FP16, BF16"):
        encode(make_batch(), datatype="FP64")  # type: ignore[arg-type]
