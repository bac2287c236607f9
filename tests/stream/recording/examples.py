"""Messages to record, drawn at random or numbered, and what of them must come back."""

from collections.abc import Iterable
from itertools import count
from typing import Any

import numpy as np
from hypothesis import strategies as st

from latentwatch.producers.wire import ActivationBatch, traces_of
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.recording import RecordedMessage
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter

HOUR = 490_834
"""2025-12-29T10 in hours since 1970, UTC."""
START_NS = HOUR * HOUR_NS

WIDTHS = {"layer3": 3, "layer4": 5}

_numbers = count()


def fresh_url() -> str:
    """A folder in memory that nobody used before."""
    return f"memory://recordings/{next(_numbers)}"


def message(
    offset: int, rows: int = 4, *, partition: int = 0, minute: float = 0.0, **changes: Any
) -> RecordedMessage:
    """A message whose rows are a minute apart; its values and ids follow from its place."""
    rng = np.random.default_rng([partition, offset])
    fields: dict[str, Any] = {
        "model": "resnet",
        "version": "7",
        "activations": {
            name: rng.standard_normal((rows, width)).astype(np.float16)
            for name, width in WIDTHS.items()
        },
        "predicted": rng.integers(0, 10, rows).astype(np.int32),
        "event_time_ns": START_NS + ((np.arange(rows) + minute) * 60e9).astype(np.int64),
        "request_ids": [f"request-{partition}-{offset}-{row}" for row in range(rows)],
        "source": "/services/signs",
        "event_id": f"event-{partition}-{offset}",
        "time": "2025-12-29T10:00:00Z",
    }
    return RecordedMessage(partition, offset, ActivationBatch(**(fields | changes)))


def record(url: str, messages: Iterable[RecordedMessage], *, most_bytes: int = 1 << 40) -> None:
    """Write messages, and flush what is left at the end."""
    writer = RecordingWriter(RecordingFiles(url), most_bytes=most_bytes, most_seconds=1e9)
    for one in messages:
        writer.add(one, now=0.0)
    writer.flush_all()


def plain(one: RecordedMessage) -> tuple[Any, ...]:
    """All that a recording keeps of a message; bfloat16 as the float32 of the same value."""
    batch = one.batch
    refs, clients = list(batch.input_refs or ()), list(batch.clients or ())
    return (
        (one.partition, one.offset, batch.model, batch.version),
        (batch.event_id, batch.source, batch.time, batch.traceparent, batch.shard),
        list(batch.row_traceparents),
        list(batch.request_ids),
        [texts if any(text is not None for text in texts) else None for texts in (refs, clients)],
        (batch.predicted.dtype, batch.predicted.tobytes()),
        (batch.event_time_ns.dtype, batch.event_time_ns.tobytes()),
        [(name, *_layer(batch, name)) for name in batch.activations],
    )


def _layer(batch: ActivationBatch, name: str) -> tuple[Any, ...]:
    array = batch.float32(name) if name in batch.bfloat16 else batch.activations[name]
    return array.dtype, array.shape, array.tobytes()


def by_partition(messages: Iterable[RecordedMessage]) -> dict[int, list[tuple[Any, ...]]]:
    """Messages of each partition, in the order they come in."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    for one in messages:
        found.setdefault(one.partition, []).append(plain(one))
    return found


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TRACES = [f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333{n}-00" for n in range(2)]

# a form is a layer's type and width
LAYERS = st.dictionaries(
    st.sampled_from(["layer3", "layer4", "offset"]),
    st.tuples(st.sampled_from(["float16", "float32", "bfloat16"]), st.integers(1, 3)),
    min_size=1,
    max_size=2,
)
TIMES = st.builds(
    lambda hour, within: START_NS + hour * HOUR_NS + within,
    st.integers(0, 2),
    st.sampled_from([0, 1, HOUR_NS // 2, HOUR_NS - 1]),
)


SERVICES = st.tuples(st.sampled_from(["resnet", "vit.b-16"]), st.sampled_from(["7", "1.0"]), LAYERS)
"""Model, version and layers of what is sent."""


@st.composite
def batches(draw: st.DrawFn, service: tuple[str, str, dict[str, Any]]) -> ActivationBatch:
    """A batch of a service; its values have any bits."""
    model, version, forms = service
    rows = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    times = draw(st.lists(TIMES, min_size=rows, max_size=rows))
    return ActivationBatch(
        model=model,
        version=version,
        activations={name: _any_bits(rng, rows, *form) for name, form in forms.items()},
        predicted=rng.integers(0, 2**31, rows).astype(np.int32),
        event_time_ns=np.array(times, np.int64),
        request_ids=draw(st.lists(TEXTS, min_size=rows, max_size=rows, unique=True)),
        input_refs=draw(
            st.none() | st.lists(st.none() | st.just("") | TEXTS, min_size=rows, max_size=rows)
        ),
        clients=draw(st.none() | st.lists(st.none() | TEXTS, min_size=rows, max_size=rows)),
        source=draw(TEXTS),
        event_id=draw(TEXTS),
        time="2025-12-29T10:00:00Z",
        **traces_of(
            draw(st.lists(st.sampled_from([None, *TRACES]), min_size=rows, max_size=rows))
        )._asdict(),
        shard=draw(st.none() | st.just("a")),
        bfloat16=frozenset(name for name, (kind, _) in forms.items() if kind == "bfloat16"),
    )


def _any_bits(rng: np.random.Generator, rows: int, kind: str, width: int) -> np.ndarray:
    whole = np.uint32 if kind == "float32" else np.uint16
    bits = rng.integers(0, np.iinfo(whole).max, (rows, width), whole, endpoint=True)
    return bits if kind == "bfloat16" else bits.view(kind)


@st.composite
def streams(draw: st.DrawFn, most: int = 10) -> list[RecordedMessage]:
    """Messages of a few partitions as they are read: offsets rise, with gaps."""
    # few services, so that messages share files
    services = st.sampled_from(draw(st.lists(SERVICES, min_size=1, max_size=3)))
    places = draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=most)
    )
    ends = {0: 0, 1: 7, 2: 10**12}
    found = []
    for partition, step in places:
        ends[partition] += step
        found.append(RecordedMessage(partition, ends[partition], draw(batches(draw(services)))))
    return found
