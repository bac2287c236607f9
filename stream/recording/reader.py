"""Read a recording: its requests, its layers, and its messages in order."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.times import HOUR_NS, timestamp
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.layout import ACTIVATION, COLUMNS, FilePlace, Flush, hour_folder
from latentwatch.stream.recording.rows import Piece, RecordedMessage, layer_values, pieces_of, whole

__all__ = ["Recording", "Selection"]

_KEYS = ["request_id", "event_time", "offset"]
"""Columns that say whether a row is selected."""

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A part of a recording.

    Parameters
    ----------
    model, version : str, optional
    since_ns, until_ns : int, optional
        Event times at or after the first and before the second; nanoseconds since 1970, UTC.
    request_ids : frozenset of str, optional
    partition : int, optional
    flush : Flush, optional
        Messages of one partition, in a range of offsets.
    """

    model: str | None = None
    version: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    request_ids: frozenset[str] | None = None
    partition: int | None = None
    flush: Flush | None = None

    def has(self, place: FilePlace) -> bool:
        """Whether a file may contain selected rows."""
        start, end = place.hour * HOUR_NS, (place.hour + 1) * HOUR_NS
        return (
            self.model in (None, place.model)
            and self.version in (None, place.version)
            and self.partition in (None, place.flush.partition)
            and (self.until_ns is None or start < self.until_ns)
            and (self.since_ns is None or end > self.since_ns)
            and (self.flush is None or self.flush.meets(place.flush))
        )

    def has_all_of(self, place: FilePlace) -> bool:
        """Whether every row of a file is selected, judging by its path alone."""
        start, end = place.hour * HOUR_NS, (place.hour + 1) * HOUR_NS
        return (
            self.has(place)
            and (self.until_ns is None or end <= self.until_ns)
            and (self.since_ns is None or start >= self.since_ns)
            and self.request_ids is None
            and (self.flush is None or self.flush.covers(place.flush))
        )

    def rows(self, table: pa.Table) -> pa.Table:
        """The selected rows of a file."""
        event_time = table["event_time"].cast(pa.int64())
        if self.since_ns is not None:
            table = table.filter(pc.greater_equal(event_time, self.since_ns))
            event_time = table["event_time"].cast(pa.int64())
        if self.until_ns is not None:
            table = table.filter(pc.less(event_time, self.until_ns))
        if self.request_ids is not None:
            wanted = pa.array(sorted(self.request_ids), pa.string())
            table = table.filter(pc.is_in(table["request_id"], wanted))
        if self.flush is not None:
            offset = table["offset"]
            first, end = self.flush.first, self.flush.next
            table = table.filter(pc.and_(pc.greater_equal(offset, first), pc.less(offset, end)))
        return table


class Recording:
    """A recording at a path or any fsspec URL.

    Parameters
    ----------
    url : str
        Folder of the recording.
    selection : Selection, optional
        The part to read; all by default.

    Raises
    ------
    RecordingError
        There is no recording, or it has nothing of the selection.

    Examples
    --------
    ::

        recording = Recording("./recording").select(model="resnet", version="7")
        recording.layers("layer[34]")            # {"layer3": 96, "layer4": 192}
        recording.requests().to_pandas()         # one row per request, no activations
        recording.array("layer4")                # float32 [N, 192], in the order of requests()
        recording.tensor("layer4", "request-17") # float32 [192]
    """

    def __init__(self, url: str, selection: Selection | None = None) -> None:
        self.url = url
        self.selection = selection or Selection()
        self._files = RecordingFiles(url)
        every = self._files.places()
        if not every:
            raise RecordingError(
                f"nothing is recorded at {url}: check the path, or make a recording there with "
                f"`latentwatch record --out {url}`"
            )
        self.places = tuple(place for place in every if self.selection.has(place))
        if not self.places:
            known = sorted({f"{p.model}/{p.version}" for p in every})
            raise RecordingError(
                f"{url} has nothing of {_asked(self.selection)}; it holds {', '.join(known)}, "
                f"{_hours(every)}"
            )

    def __repr__(self) -> str:
        return f"<Recording {self.url} models={self.models} files={len(self.places)}>"

    def select(self, **part: Any) -> Recording:
        """Select a part; the parameters are those of `Selection`."""
        return Recording(self.url, replace(self.selection, **part))

    @property
    def models(self) -> list[tuple[str, str]]:
        """Models and versions, sorted."""
        return sorted({(place.model, place.version) for place in self.places})

    @property
    def partitions(self) -> list[int]:
        """Partitions that the selected messages came from, sorted."""
        return sorted({place.flush.partition for place in self.places})

    def only_model(self) -> tuple[str, str]:
        """The one model version that is selected; `RecordingError` if there are several."""
        if len(self.models) > 1:
            names = ", ".join("/".join(name) for name in self.models)
            raise RecordingError(
                f"{self.url} holds {names}: choose one with --model and --model-version"
            )
        return self.models[0]

    def __len__(self) -> int:
        """Rows in the files of the selection; a part of an hour counts as the whole."""
        return sum(self._files.rows(place) for place in self.places)

    def layers(self, regex: str = "") -> dict[str, int]:
        """Widths by name of the layers that every file has, in the order in which they were sent.

        Parameters
        ----------
        regex : str
            Only names in which it is found.
        """
        known: dict[str, int] | None = None
        for widths in self._widths:
            known = dict(widths) if known is None else known
            known = {n: w for n, w in known.items() if widths.get(n) == w}
        return {name: width for name, width in (known or {}).items() if re.search(regex, name)}

    @cached_property
    def _widths(self) -> list[dict[str, int]]:
        return [
            {
                field.name.removeprefix(ACTIVATION): field.type.list_size
                for field in self._files.schema(place)
                if field.name.startswith(ACTIVATION)
            }
            for place in self.places
        ]

    def requests(self) -> pa.Table:
        """All columns but the activations, and ``model`` and ``version``, sorted by event time."""
        return self._requests.drop_columns(["index"])

    @cached_property
    def _requests(self) -> pa.Table:
        names = [column.name for column in COLUMNS]
        parts = []
        for place in self.places:
            table = self._selected(place, names).replace_schema_metadata(None)
            for name in ("version", "model"):
                value = pa.array([getattr(place, name)] * len(table), pa.string())
                table = table.add_column(0, name, value)
            parts.append(table)
        joined = pa.concat_tables(parts)
        joined = joined.append_column("index", pa.array(np.arange(len(joined))))
        return joined.sort_by(
            [(name, "ascending") for name in ("event_time", "partition", "offset", "row")]
        )

    def array(self, layer: str) -> NDArray[np.float32]:
        """Activations float32 [N, d] of one layer, in the order of `requests`.

        Raises
        ------
        RecordingError
            Some file of the selection has no such layer, or one of another width.
        """
        self._need(layer)
        # to which row each goes: only one file at a time is in memory with the result
        target = np.argsort(self._requests["index"].to_numpy())
        joined = np.empty((len(target), self.layers()[layer]), np.float32)
        done = 0
        for place in self.places:
            table = self._selected(place, [*_KEYS, ACTIVATION + layer])
            values = layer_values(table[ACTIVATION + layer])
            joined[target[done : done + len(values)]] = values
            done += len(values)
        return joined

    def predicted(self) -> NDArray[np.int32]:
        """Predicted classes int32 [N], in the order of `requests`."""
        classes: NDArray[np.int32] = self._requests["predicted_class"].to_numpy()
        return classes

    def event_time_ns(self) -> NDArray[np.int64]:
        """Event times int64 [N], nanoseconds since 1970, UTC, in the order of `requests`."""
        times: NDArray[np.int64] = self._requests["event_time"].cast(pa.int64()).to_numpy()
        return times

    def tensor(self, layer: str, request_id: str) -> NDArray[np.float32]:
        """Activation float32 [d] of one request in one layer; of a retry, the first one's.

        Raises
        ------
        RecordingError
            No such layer or request.
        """
        wanted = self.selection.request_ids
        if wanted is not None and request_id not in wanted:
            raise RecordingError(f"{request_id!r} is not among the selected requests")
        found = Recording(self.url, replace(self.selection, request_ids=frozenset([request_id])))
        rows = found.array(layer)
        if not len(rows):
            raise RecordingError(
                f"{self.url} has no request {request_id!r}: list them with requests()"
            )
        first: NDArray[np.float32] = rows[0]
        return first

    def messages(self, progress: Progress | None = None) -> Iterator[RecordedMessage]:
        """Messages as they arrived: by offset within a partition, partitions merged by time."""
        done, total = 0, len(self)
        streams = [self._partition(number) for number in self.partitions]
        for message in heapq.merge(*streams, key=lambda m: int(m.batch.event_time_ns[0])):
            yield message
            done += len(message.batch)
            if progress is not None:
                progress(done, total)

    def _partition(self, number: int) -> Iterator[RecordedMessage]:
        own = [place for place in self.places if place.flush.partition == number]
        for _, places in groupby(own, key=lambda place: place.flush):
            # a flush may have several files: put its messages in order and together again
            streams = [self._read(place) for place in places]
            pieces = heapq.merge(*streams, key=lambda piece: piece.message.offset)
            for _, parts in groupby(pieces, key=lambda piece: piece.message.offset):
                yield whole(list(parts))

    def _read(self, place: FilePlace) -> Iterator[Piece]:
        yield from pieces_of(place, self._selected(place))

    def _selected(self, place: FilePlace, names: list[str] | None = None) -> pa.Table:
        """The selected rows of a file; activations are read only if there are any."""
        if self.selection.has_all_of(place):
            return self._files.open_table(place, names)
        if not len(self.selection.rows(self._files.open_table(place, _KEYS))):
            empty = self._files.schema(place).empty_table()
            return empty if names is None else empty.select(names)
        return self.selection.rows(self._files.open_table(place, names))

    def _need(self, layer: str) -> None:
        for place, widths in zip(self.places, self._widths, strict=True):
            if layer not in widths:
                raise RecordingError(
                    f"{self._files.name(place)} has no layer {layer!r}, but "
                    f"{', '.join(widths)}: choose among them, or narrow the time"
                )
        if layer not in self.layers():
            raise RecordingError(
                f"layer {layer!r} has different widths in {self.url}: narrow the time, or choose "
                "one model version"
            )


def _asked(selection: Selection) -> str:
    parts = [
        f"{name} {value}"
        for name, value in (
            ("model", selection.model),
            ("version", selection.version),
            ("the time from", _moment(selection.since_ns)),
            ("the time before", _moment(selection.until_ns)),
            ("partition", selection.flush.partition if selection.flush else selection.partition),
        )
        if value is not None
    ]
    return ", ".join(parts)


def _moment(time_ns: int | None) -> str | None:
    return None if time_ns is None else timestamp(time_ns)


def _hours(places: list[FilePlace]) -> str:
    hours = [place.hour for place in places]
    return f"hours {hour_folder(min(hours))} to {hour_folder(max(hours))}"
