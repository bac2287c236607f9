"""Properties of the wire format over generated batches, mutated messages and noise."""

from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latentwatch.producers.wire import ActivationBatch, Message, WireError, decode, encode

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
LAYER_NAMES = NAMES.filter(lambda name: name not in ("predicted_class", "event_time_ns"))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ATTRIBUTES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
TRACEPARENTS = st.none() | st.just("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
KINDS = ("float32", "float16", "bfloat16")


@st.composite
def layers(draw: st.DrawFn, rows: int) -> tuple[dict[str, np.ndarray], frozenset[str]]:
    """A few layers, and the names of those that hold bfloat16 bits."""
    kinds = draw(st.dictionaries(LAYER_NAMES, st.sampled_from(KINDS), min_size=1, max_size=4))
    arrays = {}
    for name, kind in kinds.items():
        shape = (rows, draw(st.integers(1, 5)))
        if kind == "bfloat16":
            # every sign and mantissa below the exponent of all ones, which is infinity and NaN
            bits = st.integers(0, 0x7F7F) | st.integers(0x8000, 0xFF7F)
            arrays[name] = draw(hnp.arrays(np.uint16, shape, elements=bits))
        else:
            finite = st.floats(
                allow_nan=False, allow_infinity=False, width=32 if kind == "float32" else 16
            )
            arrays[name] = draw(hnp.arrays(kind, shape, elements=finite))
    return arrays, frozenset(name for name, kind in kinds.items() if kind == "bfloat16")


@st.composite
def batches(draw: st.DrawFn) -> ActivationBatch:
    rows = draw(st.integers(1, 12))
    activations, bfloat16 = draw(layers(rows))
    return ActivationBatch(
        model=draw(NAMES),
        version=draw(NAMES),
        activations=activations,
        predicted=draw(hnp.arrays(np.int32, rows, elements=st.integers(0, 2**31 - 1))),
        event_time_ns=draw(
            hnp.arrays(
                np.int64,
                rows,
                elements=st.integers(946_684_800 * 10**9, 7_258_118_400 * 10**9 - 1),
            )
        ),
        request_ids=draw(st.lists(TEXTS, min_size=rows, max_size=rows, unique=True)),
        input_refs=draw(st.none() | st.lists(st.none() | TEXTS, min_size=rows, max_size=rows)),
        clients=draw(st.none() | st.lists(st.none() | TEXTS, min_size=rows, max_size=rows)),
        source=draw(ATTRIBUTES),
        event_id=draw(ATTRIBUTES),
        time=draw(st.datetimes(timezones=st.just(None))).isoformat() + "Z",
        traceparent=draw(TRACEPARENTS),
        traceparents=draw(st.none() | st.lists(TRACEPARENTS, min_size=rows, max_size=rows)),
        shard=draw(st.none() | NAMES),
        bfloat16=bfloat16,
    )


def bits(array: np.ndarray) -> bytes:
    return array.tobytes()


@given(batches())
@settings(max_examples=200, deadline=None)
def test_every_batch_comes_back_bit_by_bit(batch: ActivationBatch) -> None:
    key, value, headers = encode(batch)

    back = decode(value, headers, key=key)

    for name in ("model", "version", "source", "event_id", "time", "traceparent", "shard"):
        assert getattr(back, name) == getattr(batch, name)
    assert (back.request_ids, back.input_refs) == (batch.request_ids, batch.input_refs)
    assert (back.clients, back.traceparents) == (batch.clients, batch.traceparents)
    assert back.bfloat16 == batch.bfloat16
    assert bits(back.predicted) == bits(batch.predicted)
    assert bits(back.event_time_ns) == bits(batch.event_time_ns)
    assert list(back.activations) == list(batch.activations)
    for name, array in batch.activations.items():
        assert back.activations[name].dtype == array.dtype
        assert back.activations[name].shape == array.shape
        assert bits(back.activations[name]) == bits(array)
        assert np.shares_memory(back.activations[name], np.frombuffer(value, np.uint8))
    assert encode(back) == (key, value, headers)


@given(batches(), st.sampled_from(["FP32", "FP16", "BF16"]))
@settings(max_examples=200, deadline=None)
def test_every_finite_batch_can_be_sent_in_every_data_type(
    batch: ActivationBatch, datatype: Any
) -> None:
    message = encode(batch, datatype=datatype)

    back = decode(message.value, message.headers)

    steps = {"FP32": 0.0, "FP16": 2**-11, "BF16": 2**-8}
    tiny = {"FP32": 0.0, "FP16": 2**-25, "BF16": 2.0**-134}
    largest = {"FP32": 3.5e38, "FP16": 65504.0, "BF16": (2 - 2**-7) * 2.0**127}[datatype]
    for name in batch.activations:
        sent = np.clip(batch.float32(name).astype(np.float64), -largest, largest)
        error = np.abs(back.float32(name) - sent)
        assert (error <= steps[datatype] * np.abs(sent) + tiny[datatype]).all()


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "ce_specversion",
                "ce_type",
                "ce_id",
                "ce_time",
                "ce_source",
                "ce_modelname",
                "ce_modelversion",
                "ce_traceparent",
                "ce_traceparents",
                "content-type",
                "inference-header-content-length",
            ]
        )
        | st.text(max_size=10),
        st.none() | st.binary(max_size=40),
    ),
    max_size=12,
)


@given(st.none() | st.binary(max_size=300), HEADERS, st.none() | st.binary(max_size=30))
@settings(max_examples=500, deadline=None)
def test_noise_raises_the_one_documented_exception(
    value: bytes | None, headers: list[tuple[str, bytes | None]], key: bytes | None
) -> None:
    try:
        decode(value, headers, key=key)
    except WireError:
        return
    raise AssertionError("noise was taken for a message")


def valid_message() -> Message:
    return encode(
        ActivationBatch(
            model="m",
            version="1",
            activations={
                "a": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3),
                "b": np.ones((4, 2), np.float16),
            },
            predicted=np.arange(4, dtype=np.int32),
            event_time_ns=np.full(4, 1_900_000_000 * 10**9),
            request_ids=["w", "x", "y", "z"],
            input_refs=["1", None, None, "4"],
            source="/s",
            event_id="e",
            time="2030-01-01T00:00:00Z",
        )
    )


VALID = valid_message()
JSON_BYTES = int(dict(VALID.headers)["inference-header-content-length"])


def decodes_or_refuses(message: Message) -> None:
    """Decode; whatever is accepted must keep the promises of an accepted batch."""
    try:
        batch = decode(message.value, message.headers, key=message.key)
    except WireError:
        return
    assert 1 <= len(batch) <= 1024
    assert len(set(batch.request_ids)) == len(batch) == len(batch.predicted)
    assert (batch.predicted >= 0).all()
    for name, array in batch.activations.items():
        assert array.shape[0] == len(batch)
        assert np.isfinite(batch.float32(name)).all()
    encode(batch)


@given(st.lists(st.tuples(st.integers(0, len(VALID.value) - 1), st.integers(1, 255)), max_size=8))
@settings(max_examples=500, deadline=None)
def test_flipped_bytes_are_accepted_only_if_still_valid(flips: list[tuple[int, int]]) -> None:
    value = bytearray(VALID.value)
    for position, mask in flips:
        value[position] ^= mask
    decodes_or_refuses(VALID._replace(value=bytes(value)))


@given(st.integers(0, len(VALID.value)), st.binary(max_size=20), st.integers(0, 20))
@settings(max_examples=300, deadline=None)
def test_cut_and_stretched_values_are_refused(position: int, inserted: bytes, cut: int) -> None:
    value = VALID.value[:position] + inserted + VALID.value[position + cut :]
    decodes_or_refuses(VALID._replace(value=value))


@given(st.integers(0, len(VALID.headers) - 1), st.binary(max_size=60) | st.none())
@settings(max_examples=300, deadline=None)
def test_changed_headers_are_accepted_only_if_still_valid(
    index: int, replacement: bytes | None
) -> None:
    headers = list(VALID.headers)
    headers[index] = (headers[index][0], replacement)  # type: ignore[assignment]
    decodes_or_refuses(VALID._replace(headers=headers))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["a", "b", "predicted_class", "event_time_ns", "FP32", "BF16", "INT32"])
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                [
                    "outputs",
                    "parameters",
                    "name",
                    "datatype",
                    "shape",
                    "request_ids",
                    "input_refs",
                    "clients",
                    "binary_data_size",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@st.composite
def edited_headers(draw: st.DrawFn) -> Any:
    """The valid JSON header with anything at all put at a few random places."""
    header = orjson.loads(VALID.value[:JSON_BYTES])
    for _ in range(draw(st.integers(1, 3))):
        parent: Any = header
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            deeper = isinstance(parent[key], (dict, list)) and draw(st.integers(0, 4)) > 0
            if not deeper:
                parent[key] = draw(DOCUMENTS)
                break
            parent = parent[key]
    return header


@given(edited_headers() | DOCUMENTS)
@settings(max_examples=800, deadline=None)
def test_crafted_json_raises_nothing_else(header: Any) -> None:
    text = orjson.dumps(header)
    headers = [
        (name, str(len(text)).encode() if name == "inference-header-content-length" else value)
        for name, value in VALID.headers
    ]
    decodes_or_refuses(Message(VALID.key, text + VALID.value[JSON_BYTES:], headers))
