"""The Sketch: a mergeable summary of a set of requests, whether a block, a window or an hour.

``a + b`` is again a Sketch. Addition is exact, associative and commutative, because every part is
an integer sum, a minimum, a maximum, or the top of a totally ordered list.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from latentwatch.detector.errors import SketchError
from latentwatch.detector.features import Int16, Int64
from latentwatch.detector.suspects import SUSPECT_LEVEL, Suspect, bounded, merged

TAIL_EDGES = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0])
"""Upper edges of the histogram of typicality p-values; finest where attacks are."""

REPEATED = -1
"""Group of a row that repeats another: it counts as a request but carries no information."""

_MAGIC = b"LWS1"


@dataclass(frozen=True, slots=True)
class Requests:
    """Identity of the rows of a block.

    Parameters
    ----------
    request_ids, input_refs : tuple [n]
        Ids, and links to the stored inputs or None.
    event_time_ns, offsets : int64 [n]
        Event time, and the offset of the message with the row.
    partition : int
        Kafka partition of the lane.
    """

    request_ids: tuple[str, ...]
    event_time_ns: Int64
    offsets: Int64
    input_refs: tuple[str | None, ...]
    partition: int = 0

    @classmethod
    def anonymous(cls, rows: int) -> Requests:
        """Requests for the rows of an array without ids or times."""
        index = np.arange(rows, dtype=np.int64)
        return cls(
            request_ids=tuple(map(str, range(rows))),
            event_time_ns=np.zeros(rows, dtype=np.int64),
            offsets=index,
            input_refs=(None,) * rows,
        )

    def take(self, rows: slice | Int64) -> Requests:
        """The same for some of the rows."""
        return Requests(
            request_ids=_chosen(self.request_ids, rows),
            event_time_ns=self.event_time_ns[rows],
            offsets=self.offsets[rows],
            input_refs=_chosen(self.input_refs, rows),
            partition=self.partition,
        )

    @staticmethod
    def join(parts: Iterable[Requests]) -> Requests:
        """Concatenate parts of one partition, in order."""
        pieces = list(parts)
        return Requests(
            request_ids=tuple(i for p in pieces for i in p.request_ids),
            event_time_ns=np.concatenate([p.event_time_ns for p in pieces]),
            offsets=np.concatenate([p.offsets for p in pieces]),
            input_refs=tuple(i for p in pieces for i in p.input_refs),
            partition=pieces[-1].partition,
        )


@dataclass(frozen=True, slots=True)
class Features:
    """Featurised rows: n rows in V views, the deciding views first.

    Parameters
    ----------
    predicted, groups : int64 [n]
        Predicted class, and its group in the baseline; `REPEATED` for a row that repeats another,
        which is counted but not judged.
    psi : int16 [n, R]
        Residuals of all views side by side.
    lengths : int64 [n, V]
        ``||psi||^2`` of each view, in squared grid steps.
    squared_distance, p_values : float32, float64 [n, V]
        Squared length before shortening, and its typicality p-value.
    """

    predicted: Int64
    groups: Int64
    psi: Int16
    lengths: Int64
    squared_distance: NDArray[np.float32]
    p_values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.predicted)

    def take(self, rows: slice | Int64) -> Features:
        """The same for some of the rows."""
        return Features(
            self.predicted[rows],
            self.groups[rows],
            self.psi[rows],
            self.lengths[rows],
            self.squared_distance[rows],
            self.p_values[rows],
        )

    def repeating(self, repeats: NDArray[np.bool_]) -> Features:
        """The same with some rows [n] marked as repeats."""
        return replace(self, groups=np.where(repeats, REPEATED, self.groups))


OffsetRanges = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """Mergeable summary of requests.

    Parameters
    ----------
    rows : int
        Number of requests.
    group_counts : int64 [G]
        Requests that were judged, by class group of the baseline; n is their sum.
    sums : int64 [R]
        ``S = sum psi`` of all views side by side, in grid steps.
    lengths : int64 [V]
        ``q = sum ||psi||^2`` of each view, in squared grid steps.
    histogram : int64 [V, len(TAIL_EDGES)]
        Typicality p-values counted in bins.
    time_range : (int, int) or None
        First and last event time in nanoseconds; None while empty.
    offsets : mapping of partition to (first, last)
        Range of the requests in the input topic.
    ranked : tuple of tuple of Suspect
        Requests with the smallest p-values, in ordered parts. `suspects` merges them: sums are
        frequent, and suspects are rarely needed.
    """

    rows: int
    group_counts: Int64
    sums: Int64
    lengths: Int64
    histogram: Int64
    time_range: tuple[int, int] | None = None
    offsets: OffsetRanges = field(default_factory=dict)
    ranked: tuple[tuple[Suspect, ...], ...] = ()

    @classmethod
    def empty(cls, groups: int, width: int, views: int) -> Sketch:
        """The neutral element of addition for G groups, R residual values and V views."""
        return cls(
            0,
            np.zeros(groups, dtype=np.int64),
            np.zeros(width, dtype=np.int64),
            np.zeros(views, dtype=np.int64),
            np.zeros((views, len(TAIL_EDGES)), dtype=np.int64),
        )

    @classmethod
    def of(cls, features: Features, requests: Requests, groups: int) -> Sketch:
        """Summarise rows; `requests` identifies them."""
        if not len(features):
            return cls.empty(groups, features.psi.shape[1], features.lengths.shape[1])
        return cls.of_blocks(features, requests, groups, len(features))[0]

    @classmethod
    def of_blocks(
        cls, features: Features, requests: Requests, groups: int, block_rows: int
    ) -> list[Sketch]:
        """Summarise blocks of `block_rows` rows each, all at once."""
        blocks, views = len(features) // block_rows, features.lengths.shape[1]
        number = np.repeat(np.arange(blocks), block_rows)
        judged = features.groups != REPEATED
        bins = np.searchsorted(TAIL_EDGES, features.p_values, side="left")
        bins += len(TAIL_EDGES) * (np.arange(views) + views * number[:, None])
        parts = zip(
            _counted((number * groups + features.groups)[judged], (blocks, groups)),
            _summed(features.psi, judged, blocks),
            _summed(features.lengths, judged, blocks),
            _counted(bins[judged].ravel(), (blocks, views, len(TAIL_EDGES))),
            _ends(requests.event_time_ns, blocks),
            [{requests.partition: ends} for ends in _ends(requests.offsets, blocks)],
            _ranked_blocks(features, requests, blocks),
            strict=True,
        )
        return [cls(block_rows, *part) for part in parts]

    @classmethod
    def counting(cls, requests: Requests) -> Sketch:
        """Count rows without a baseline: a sketch of zero views that only has a number of rows."""
        empty = cls.empty(0, 0, 0)
        return cls(
            len(requests.request_ids),
            empty.group_counts,
            empty.sums,
            empty.lengths,
            empty.histogram,
            *_where(requests),
        )

    def __add__(self, other: Sketch) -> Sketch:
        if self.shape != other.shape:
            raise SketchError(
                f"cannot add sketches of shapes {self.shape} and {other.shape}: they come from "
                "different baselines; keep the sketches of each baseline apart"
            )
        return Sketch(
            self.rows + other.rows,
            self.group_counts + other.group_counts,
            self.sums + other.sums,
            self.lengths + other.lengths,
            self.histogram + other.histogram,
            _span([r for r in (self.time_range, other.time_range) if r is not None]),
            _merge_offsets(self.offsets, other.offsets),
            bounded(self.ranked + other.ranked),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        """At most ``SUSPECT_LIMIT`` requests with the smallest p-values, in order."""
        return merged(self.ranked)

    @property
    def judged(self) -> int:
        """Requests n behind the statistics: without repeats and rows that had no baseline."""
        return int(self.group_counts.sum())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Groups G, residual width R and views V."""
        return len(self.group_counts), len(self.sums), len(self.lengths)

    def to_bytes(self) -> bytes:
        """Canonical bytes: a checksum, a JSON header, then the integer arrays, little endian."""
        header = orjson.dumps(
            {
                "rows": self.rows,
                "shape": self.shape,
                "time_range": self.time_range,
                "offsets": sorted([p, a, b] for p, (a, b) in self.offsets.items()),
                "suspects": [tuple(s) for s in self.suspects],
            }
        )
        arrays = np.concatenate(
            [self.group_counts, self.sums, self.lengths, self.histogram.ravel()]
        )
        body = struct.pack("<I", len(header)) + header + arrays.astype("<i8").tobytes()
        return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Inverse of `to_bytes`; raises `SketchError` on anything else."""
        try:
            return cls._parse(data)
        except (ValueError, LookupError, TypeError, struct.error) as error:
            raise SketchError(
                f"these {len(data)} bytes are not a sketch of this version ({error}); "
                "delete the state that holds them and let the worker rebuild it"
            ) from error

    @classmethod
    def _parse(cls, data: bytes) -> Sketch:
        if data[:4] != _MAGIC:
            raise ValueError("wrong magic number")
        checksum, length = struct.unpack_from("<II", data, 4)
        if zlib.crc32(data[8:]) != checksum:
            raise ValueError("wrong checksum")
        header: dict[str, Any] = orjson.loads(data[12 : 12 + length])
        groups, width, views = header["shape"]
        ends = np.cumsum([groups, width, views, views * len(TAIL_EDGES)])
        numbers = np.frombuffer(data, dtype="<i8", offset=12 + length).astype(np.int64)
        if len(numbers) != ends[-1]:
            raise ValueError(f"{len(numbers)} numbers instead of {ends[-1]}")
        counts, sums, lengths, histogram = np.split(numbers, ends[:-1])
        span = header["time_range"]
        return cls(
            header["rows"],
            counts,
            sums,
            lengths,
            histogram.reshape(views, len(TAIL_EDGES)),
            (span[0], span[1]) if span else None,
            {p: (a, b) for p, a, b in header["offsets"]},
            bounded((tuple(Suspect(*s) for s in header["suspects"]),)),
        )


def _chosen(values: tuple[Any, ...], rows: slice | Int64) -> tuple[Any, ...]:
    return values[rows] if isinstance(rows, slice) else tuple(values[i] for i in rows)


def _span(ranges: list[tuple[int, int]]) -> tuple[int, int] | None:
    if not ranges:
        return None
    return min(a for a, _ in ranges), max(b for _, b in ranges)


def _where(requests: Requests) -> tuple[tuple[int, int] | None, OffsetRanges]:
    if not requests.request_ids:
        return None, {}
    (times,) = _ends(requests.event_time_ns, 1)
    (offsets,) = _ends(requests.offsets, 1)
    return times, {requests.partition: offsets}


def _ends(values: Int64, blocks: int) -> list[tuple[int, int]]:
    """Smallest and largest value of each block."""
    each = values.reshape(blocks, -1)
    return list(zip(each.min(axis=1).tolist(), each.max(axis=1).tolist(), strict=True))


def _counted(indices: Int64, shape: tuple[int, ...]) -> Int64:
    """How often each flat index of an array of that shape occurs."""
    found = np.bincount(indices, minlength=math.prod(shape))
    counted: Int64 = found.reshape(shape).astype(np.int64, copy=False)
    return counted


def _summed(values: NDArray[np.signedinteger], judged: NDArray[np.bool_], blocks: int) -> Int64:
    """Sums int64 [blocks, ...] of the judged rows of each block."""
    if not judged.all():
        values = values * judged[:, None]
    each = values.reshape(blocks, len(values) // blocks, values.shape[1])
    # adding up in 32 bits is twice as fast, and exact for so few small numbers
    small = values.dtype == np.int16 and each.shape[1] < 2**16
    total: Int64 = each.sum(axis=1, dtype=np.int32 if small else np.int64).astype(np.int64)
    return total


def _merge_offsets(left: OffsetRanges, right: OffsetRanges) -> OffsetRanges:
    merged = dict(left)
    for partition, (first, last) in right.items():
        a, b = merged.get(partition, (first, last))
        merged[partition] = (min(a, first), max(b, last))
    return merged


def _ranked_blocks(
    features: Features, requests: Requests, blocks: int
) -> list[tuple[tuple[Suspect, ...], ...]]:
    """The most suspicious judged requests of each block, in the form of `Sketch.ranked`."""
    found: list[list[Suspect]] = [[] for _ in range(blocks)]
    block_rows = len(features) // blocks
    small = (features.p_values[:, 0] <= SUSPECT_LEVEL) & (features.groups != REPEATED)
    for i in np.flatnonzero(small).tolist():
        found[i // block_rows].append(
            Suspect(
                float(features.p_values[i, 0]),
                -float(features.squared_distance[i, 0]),
                requests.request_ids[i],
                int(features.predicted[i]),
                int(requests.event_time_ns[i]),
                requests.partition,
                int(requests.offsets[i]),
                requests.input_refs[i],
            )
        )
    return [bounded((merged((tuple(suspects), ())),)) for suspects in found]
