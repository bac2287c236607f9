"""Messages to rows and back: what a recorder writes, and a replay sends, to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from latentwatch.producers.wire import ActivationBatch, traces_of
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.recording.layout import ACTIVATION, CLIENT, FilePlace, Flush, file_schema

__all__ = ["Piece", "RecordedMessage", "layer_values", "pieces_of", "tables_of", "whole"]

Layers = tuple[tuple[str, str, int], ...]
"""Name, value type and width of each layer."""

_TYPES = {"float16": pa.float16(), "float32": pa.float32()}


class RecordedMessage(NamedTuple):
    """A batch of requests, with its partition and offset."""

    partition: int
    offset: int
    batch: ActivationBatch


class Piece(NamedTuple):
    """Rows of a message that are in one file, and their positions in the message [rows]."""

    message: RecordedMessage
    rows: NDArray[np.int32]


class _Group(NamedTuple):
    """Key of rows that share a file: model, version, hour, and layers."""

    model: str
    version: str
    hour: int
    layers: Layers


@dataclass(frozen=True, slots=True)
class _Slice:
    """Rows of one message that belong to one group; `rows` None means all."""

    message: RecordedMessage
    rows: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.message.batch) if self.rows is None else len(self.rows)

    def pick(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self.rows is None else values[self.rows]

    def texts(self, values: Any) -> list[Any]:
        if values is None:
            return [None] * len(self)
        return list(values) if self.rows is None else [values[i] for i in self.rows]


def tables_of(flush: Flush, messages: Iterable[RecordedMessage]) -> dict[FilePlace, pa.Table]:
    """Tables of a flush by the file that each goes to, in the order in which to write them.

    Values keep their bits; bfloat16 is widened to float32, exactly.
    """
    groups: dict[_Group, list[_Slice]] = {}
    for message in messages:
        batch = message.batch
        layers = _layers_of(batch)
        hours = batch.event_time_ns // HOUR_NS
        first = int(hours[0])
        if (hours == first).all():
            key = _Group(batch.model, batch.version, first, layers)
            groups.setdefault(key, []).append(_Slice(message, None))
            continue
        for hour in np.unique(hours).tolist():
            key = _Group(batch.model, batch.version, hour, layers)
            rows = np.flatnonzero(hours == hour).astype(np.int64)
            groups.setdefault(key, []).append(_Slice(message, rows))
    places = _places(flush, groups)
    files = [place.path for place in places.values()]
    return {place: _table(place, key, groups[key], files) for key, place in places.items()}


def _places(flush: Flush, groups: Iterable[_Group]) -> dict[_Group, FilePlace]:
    """A file each, older hours first; groups that differ in their layers alone become variants."""
    seen: dict[tuple[str, str, int], int] = {}
    places = {}
    # the last file marks the flush as complete: its hour must be the one that is deleted last
    for key in sorted(groups, key=lambda group: group.hour):
        name = (key.model, key.version, key.hour)
        places[key] = FilePlace(*name, flush, seen.get(name, 0))
        seen[name] = seen.get(name, 0) + 1
    return places


def _layers_of(batch: ActivationBatch) -> Layers:
    return tuple(
        (name, "float32" if name in batch.bfloat16 else array.dtype.name, array.shape[1])
        for name, array in batch.activations.items()
    )


def _table(place: FilePlace, group: _Group, slices: list[_Slice], files: list[str]) -> pa.Table:
    counts = np.array([len(one) for one in slices])
    batches = [one.message.batch for one in slices]

    def numbers(kind: pa.DataType, parts: list[NDArray[Any]]) -> pa.Array:
        return pa.array(np.concatenate(parts), kind)

    def repeated(values: list[Any], kind: pa.DataType) -> pa.Array:
        # indices into the few different texts: one for each row, none of them copied
        index = np.repeat(np.arange(len(values), dtype=np.int32), counts)
        return pa.array(values, kind).take(pa.array(index))

    def traces() -> pa.Array:
        if all(batch.traceparents is None for batch in batches):
            return repeated([batch.traceparent for batch in batches], pa.string())
        own = [text for o in slices for text in o.texts(o.message.batch.row_traceparents)]
        return pa.array(own, pa.string())

    event_times = numbers(pa.int64(), [o.pick(o.message.batch.event_time_ns) for o in slices])
    positions = [np.arange(len(one)) if one.rows is None else one.rows for one in slices]
    columns: list[pa.Array] = [
        pa.array([t for o in slices for t in o.texts(o.message.batch.request_ids)], pa.string()),
        event_times.cast(pa.timestamp("ns", tz="UTC")),
        pa.array(np.repeat([o.message.partition for o in slices], counts), pa.int32()),
        pa.array(np.repeat([o.message.offset for o in slices], counts), pa.int64()),
        numbers(pa.int32(), positions),
        numbers(pa.int32(), [o.pick(o.message.batch.predicted) for o in slices]),
        pa.array([t for o in slices for t in o.texts(o.message.batch.input_refs)], pa.string()),
        pa.array([t for o in slices for t in o.texts(o.message.batch.clients)], pa.string()),
        repeated([batch.event_id for batch in batches], pa.string()),
        repeated([batch.source for batch in batches], pa.string()),
        repeated([batch.time for batch in batches], pa.string()),
        traces(),
        repeated([batch.shard for batch in batches], pa.string()),
    ]
    schema = file_schema(
        place, {name: (_TYPES[kind], width) for name, kind, width in group.layers}, files
    )
    for name, kind, _ in group.layers:
        values = np.concatenate([o.pick(_values(o.message.batch, name)) for o in slices])
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), _TYPES[kind])
        column = schema.field(ACTIVATION + name).type
        columns.append(pa.FixedSizeListArray.from_arrays(flat, type=column))
    return pa.Table.from_arrays(columns, schema=schema)


def _values(batch: ActivationBatch, name: str) -> NDArray[Any]:
    if name in batch.bfloat16:
        return batch.float32(name)
    return batch.activations[name]


def pieces_of(place: FilePlace, table: pa.Table) -> Iterator[Piece]:
    """Messages of a file, as far as they lie in it, in the order of their offsets."""
    if not table.num_rows:
        return
    table = table.combine_chunks()
    offsets = table["offset"].to_numpy()
    cuts = np.flatnonzero(np.diff(offsets)) + 1
    starts, stops = [0, *cuts.tolist()], [*cuts.tolist(), len(offsets)]
    partition = table["partition"].to_numpy()
    rows = table["row"].to_numpy()
    predicted = table["predicted_class"].to_numpy()
    event_time_ns = table["event_time"].cast(pa.int64()).to_numpy()
    request_ids = table["request_id"].to_pylist()
    input_refs, clients, traces = (
        table[name].to_pylist() if table[name].null_count < table.num_rows else None
        for name in ("input_ref", CLIENT, "traceparent")
    )
    layers = {
        field.name.removeprefix(ACTIVATION): layer_values(table[field.name])
        for field in table.schema
        if field.name.startswith(ACTIVATION)
    }
    first = pa.array(starts)
    constant = {
        name: table[name].take(first).to_pylist()
        for name in ("event_id", "source", "time", "shard")
    }
    for index, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        refs = input_refs[start:stop] if input_refs else None
        known = clients[start:stop] if clients else None
        batch = ActivationBatch(
            model=place.model,
            version=place.version,
            activations={name: values[start:stop] for name, values in layers.items()},
            predicted=predicted[start:stop],
            event_time_ns=event_time_ns[start:stop],
            request_ids=request_ids[start:stop],
            input_refs=refs if _says_something(refs) else None,
            clients=known if _says_something(known) else None,
            **traces_of(traces[start:stop] if traces else [])._asdict(),
            **{name: values[index] for name, values in constant.items()},
        )
        message = RecordedMessage(int(partition[start]), int(offsets[start]), batch)
        yield Piece(message, rows[start:stop])


def whole(pieces: list[Piece]) -> RecordedMessage:
    """Put a message together whose rows lie in the folders of several hours."""
    first = pieces[0].message
    if len(pieces) == 1:
        return first
    batches = [piece.message.batch for piece in pieces]
    order = np.argsort(np.concatenate([piece.rows for piece in pieces]), kind="stable")
    ids = [text for batch in batches for text in batch.request_ids]
    refs = [ref for batch in batches for ref in batch.input_refs or [None] * len(batch)]
    clients = [text for batch in batches for text in batch.clients or [None] * len(batch)]
    traces = [text for batch in batches for text in batch.row_traceparents]
    joined = replace(
        first.batch,
        activations={
            name: np.concatenate([batch.activations[name] for batch in batches])[order]
            for name in first.batch.activations
        },
        predicted=np.concatenate([batch.predicted for batch in batches])[order],
        event_time_ns=np.concatenate([batch.event_time_ns for batch in batches])[order],
        request_ids=[ids[i] for i in order],
        input_refs=[refs[i] for i in order] if _says_something(refs) else None,
        clients=[clients[i] for i in order] if _says_something(clients) else None,
        **traces_of([traces[i] for i in order])._asdict(),
    )
    return first._replace(batch=joined)


def _says_something(texts: list[str | None] | None) -> bool:
    return texts is not None and texts.count(None) < len(texts)


def layer_values(column: pa.ChunkedArray) -> NDArray[Any]:
    """Activations [n, d] of a column, float16 or float32, without a copy where it is one chunk."""
    lists = column.combine_chunks()
    values: NDArray[Any] = lists.flatten().to_numpy(zero_copy_only=True)
    return values.reshape(len(lists), lists.type.list_size)
