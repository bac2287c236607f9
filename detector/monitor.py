"""The monitor of one lane: rolling windows over a ring of blocks.

It is pure and knows neither clock nor topic. The same rows in the same order give the same
decisions, however they are split into batches, and across `state_bytes` and `restore`.

A request whose activations equal those of a recent request bit for bit is a retry or a duplicate:
it is counted but not judged again. Repeats make sums vary more than independent requests do, and
would allow anyone to dilute an attack with copies of one benign input.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.calibration import window_blocks
from latentwatch.detector.decision import Decision, window_scores
from latentwatch.detector.errors import DimensionError, SketchError
from latentwatch.detector.features import BLOCK_ROWS, CHUNK_ROWS, Float32, Float64, Int64
from latentwatch.detector.featuriser import NUMPY, Featuriser
from latentwatch.detector.rows import UInt64, repeated, row_digests
from latentwatch.detector.sketch import Features, Requests, Sketch

_MAGIC = b"LWM2"

DECIDED_TOGETHER = 64
"""Blocks whose windows are scored in one go; more would only take memory."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its featurised rows, their request ids and their sketch."""

    features: Features
    requests: Requests
    sketch: Sketch


class Monitor:
    """Sequential test of one lane: a model version on one partition.

    Parameters
    ----------
    baseline : Baseline
    average_run_length : float
        Benign requests between two false alarms of the whole system, on average.
    lanes : int
        Lanes that share that budget.
    partition : int
        Kafka partition of the lane, used only to label the requests.
    featuriser : Featuriser
        What executes the feature maps; numpy by default.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> validation = {"deep": rng.standard_normal((800, 8))}
    >>> baseline = Baseline.fit(validation, np.zeros(800, int), model="m", version="1",
    ...                         longest_window=128, random_features=64,
    ...                         simulated_requests=50_000)
    >>> monitor = Monitor(baseline, average_run_length=100_000)
    >>> clean = rng.standard_normal((320, 8))
    >>> any(d.alarm for d in monitor.update({"deep": clean}, np.zeros(320, int)))
    False
    >>> attack = 3 * rng.standard_normal((64, 8))
    >>> [d.alarm for d in monitor.update({"deep": attack}, np.zeros(64, int))]
    [True, True]
    """

    def __init__(
        self,
        baseline: Baseline,
        *,
        average_run_length: float,
        lanes: int = 1,
        partition: int = 0,
        featuriser: Featuriser = NUMPY,
    ) -> None:
        self.baseline, self.featuriser = baseline, featuriser
        self.partition = partition
        self.threshold = baseline.threshold(average_run_length, lanes)
        self._windows = window_blocks(baseline.longest_window)
        self._ring: deque[Sketch] = deque(maxlen=self._windows[-1])
        self._rows: Float32 = np.empty((0, sum(baseline.layout.widths)), dtype=np.float32)
        self._predicted: Int64 = np.empty(0, dtype=np.int64)
        self._requests = Requests.anonymous(0)
        # digests of the newest rows, one longest window of them
        self._digests: UInt64 = np.empty(0, dtype=np.uint64)
        # of the rows of the unfinished block
        self._repeats: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._seen = 0

    @property
    def rows_seen(self) -> int:
        """Requests seen so far."""
        return self._seen

    @property
    def unfinished(self) -> int:
        """Requests in the unfinished block."""
        return len(self._rows)

    @property
    def ring(self) -> tuple[Sketch, ...]:
        """Sketches of the newest whole blocks, oldest first."""
        return tuple(self._ring)

    def update(
        self,
        activations: Mapping[str, ArrayLike],
        predicted: ArrayLike,
        *,
        request_ids: Sequence[str] | None = None,
        event_time_ns: ArrayLike | None = None,
        offsets: ArrayLike | None = None,
        input_refs: Sequence[str | None] | None = None,
    ) -> list[Decision]:
        """Take in requests; return one decision per completed block of 32.

        Parameters
        ----------
        activations : mapping of layer name to array [B, d]
        predicted : int array [B]
        request_ids : B strings, optional
            By default running numbers.
        event_time_ns : int array [B], optional
            Nanoseconds since 1970, UTC; by default 0.
        offsets : int array [B], optional
            Offset of the message with the row; by default running numbers.
        input_refs : B strings or None, optional
            Links to the stored inputs.

        Raises
        ------
        ActivationsError
            The rows do not fit the baseline. The monitor is unchanged.
        """
        rows, classes = self.baseline.rows(activations, predicted)
        running = np.arange(self._seen, self._seen + len(rows), dtype=np.int64)

        def column(values: ArrayLike | None, default: Int64) -> Int64:
            given = default if values is None else np.asarray(values)
            if given.size and given.dtype.kind not in "iu":
                raise DimensionError(
                    f"event_time_ns and offsets need integers, one per row, not {given.dtype}"
                )
            return given.astype(np.int64)

        requests = Requests(
            tuple(map(str, running)) if request_ids is None else tuple(request_ids),
            column(event_time_ns, np.zeros(len(rows), dtype=np.int64)),
            column(offsets, running),
            (None,) * len(rows) if input_refs is None else tuple(input_refs),
            self.partition,
        )
        return [decision for _, decision in self.push(rows, classes, requests)]

    def push(
        self, rows: Float32, predicted: Int64, requests: Requests
    ) -> list[tuple[Block, Decision]]:
        """Take in checked raw rows (see `Baseline.rows`); return decided blocks."""
        shapes = {
            (len(rows),),
            (len(requests.request_ids),),
            requests.event_time_ns.shape,
            requests.offsets.shape,
            (len(requests.input_refs),),
        }
        if len(shapes) != 1:
            raise DimensionError(
                "request_ids, event_time_ns, offsets and input_refs need one entry per row"
            )
        # everything that may raise comes first: a monitor changes completely or not at all
        all_rows = np.concatenate([self._rows, rows])
        all_predicted = np.concatenate([self._predicted, predicted])
        all_requests = Requests.join([self._requests, requests])
        digests = np.concatenate([self._digests, row_digests(rows, predicted)])
        repeats = repeated(digests, self.baseline.longest_window)[len(self._digests) :]
        all_repeats = np.concatenate([self._repeats, repeats])
        whole = len(all_rows) // BLOCK_ROWS * BLOCK_ROWS
        first = self._seen - len(self._rows)
        blocks = self._blocks(
            all_rows[:whole], all_predicted[:whole], all_repeats[:whole], all_requests, first
        )
        self._seen += len(rows)
        self._digests = digests[-self.baseline.longest_window :].copy()
        self._repeats = all_repeats[whole:].copy()
        self._rows = all_rows[whole:].copy()
        self._predicted = all_predicted[whole:].copy()
        self._requests = all_requests.take(slice(whole, None))
        return [
            pair
            for start in range(0, len(blocks), DECIDED_TOGETHER)
            for pair in self._decide(blocks[start : start + DECIDED_TOGETHER])
        ]

    def _blocks(
        self,
        rows: Float32,
        predicted: Int64,
        repeats: NDArray[np.bool_],
        requests: Requests,
        first: int,
    ) -> list[Block]:
        """Whole blocks of rows, of which the first is the lane's row number `first`."""
        if not len(rows):
            return []
        features = self.baseline.features(
            rows, predicted, first % CHUNK_ROWS, self.featuriser
        ).repeating(repeats)
        known = requests.take(slice(0, len(rows)))
        sketches = Sketch.of_blocks(features, known, self.baseline.groups, BLOCK_ROWS)
        places = [slice(at, at + BLOCK_ROWS) for at in range(0, len(rows), BLOCK_ROWS)]
        return [
            Block(features.take(place), known.take(place), sketch)
            for place, sketch in zip(places, sketches, strict=True)
        ]

    def pending(self) -> Block | None:
        """Featurise the rows of the unfinished block, in the shape and places they will have."""
        if not len(self._rows):
            return None
        place = (self._seen - len(self._rows)) % CHUNK_ROWS
        features = self.baseline.features(self._rows, self._predicted, place, self.featuriser)
        features = features.repeating(self._repeats)
        sketch = self.baseline.sketch(features, self._requests)
        return Block(features, self._requests, sketch)

    def _decide(self, blocks: list[Block]) -> list[tuple[Block, Decision]]:
        """Decide each new block by the highest score among the windows that end with it."""
        ring = [*self._ring, *(block.sketch for block in blocks)]
        self._ring.extend(block.sketch for block in blocks)
        known = len(ring) - len(blocks)
        ends, sizes = self._places(known, len(ring))
        scores = self._scores(ring, ends, sizes)
        decided = []
        for end, block in enumerate(blocks, known + 1):
            own = np.flatnonzero(ends == end)
            best = own[np.argmax(scores[own])]
            parts = ring[end - int(sizes[best]) : end]
            estimate = float(scores[best])
            decided.append((block, Decision(parts, self.baseline, self.threshold, estimate)))
        return decided

    def _places(self, known: int, count: int) -> tuple[Int64, Int64]:
        """End and number of blocks of each window that ends with a new block."""
        pairs = [
            (end, size)
            for end in range(known + 1, count + 1)
            for size in self._windows
            if size <= end
        ]
        ends, sizes = np.array(pairs, dtype=np.int64).T
        return ends, sizes

    def _scores(self, ring: list[Sketch], ends: Int64, sizes: Int64) -> Float64:
        """Scores of the windows of `sizes` blocks that end before the positions `ends`."""

        def windows(parts: list[Any]) -> NDArray[np.int64]:
            total = np.cumsum(np.stack([np.zeros_like(parts[0]), *parts]), axis=0)
            found: NDArray[np.int64] = total[ends] - total[ends - sizes]
            return found

        counts = windows([sketch.group_counts for sketch in ring])
        lengths = windows([sketch.lengths for sketch in ring])
        histograms = windows([sketch.histogram for sketch in ring])
        scores = [
            window_scores(
                counts,
                windows([sketch.sums[view.slice] for sketch in ring]),
                lengths[:, index],
                histograms[:, index],
                view,
            )
            for index, view in enumerate(self.baseline.deciding)
        ]
        return np.asarray(np.max(scores, axis=0), dtype=np.float64)

    def state_bytes(self) -> bytes:
        """The complete state, compressed; a restored monitor makes the same decisions."""
        half = self._rows.astype(np.float16) if _exact_in_half(self._rows) else self._rows
        sketches = [sketch.to_bytes() for sketch in self._ring]
        digests = self._digests.astype("<u8").tobytes()
        header = orjson.dumps(
            {
                "baseline": self.baseline.sha256,
                "partition": self.partition,
                "seen": self._seen,
                "ring": [len(sketch) for sketch in sketches],
                "dtype": half.dtype.str,
                "predicted": self._predicted.tolist(),
                "repeats": self._repeats.tolist(),
                "digests": len(self._digests),
                "request_ids": self._requests.request_ids,
                "input_refs": self._requests.input_refs,
                "event_time_ns": self._requests.event_time_ns.tolist(),
                "offsets": self._requests.offsets.tolist(),
            }
        )
        parts = [struct.pack("<I", len(header)), header, *sketches, digests, half.tobytes()]
        body = b"".join(parts)
        return _MAGIC + zlib.compress(body, level=1)

    @classmethod
    def restore(
        cls,
        baseline: Baseline,
        data: bytes,
        *,
        average_run_length: float,
        lanes: int = 1,
        featuriser: Featuriser = NUMPY,
    ) -> Monitor:
        """Inverse of `state_bytes`; `SketchError` for damaged bytes or another baseline's state."""
        with _reading(data):
            header, body = cls._open(data)
            owner = str(header["baseline"])
            if owner != baseline.sha256:
                raise SketchError(
                    f"the state belongs to baseline {owner[:12]}, not "
                    f"{baseline.sha256[:12]}; restart the lane with the new baseline"
                )
            monitor = cls(
                baseline,
                average_run_length=average_run_length,
                lanes=lanes,
                partition=header["partition"],
                featuriser=featuriser,
            )
            monitor._load(header, body)
        return monitor

    @staticmethod
    def unfinished_requests(data: bytes) -> Requests:
        """Requests of the unfinished block in a state; its baseline is not needed."""
        with _reading(data):
            return Monitor._requests_of(Monitor._open(data)[0])

    @staticmethod
    def _open(data: bytes) -> tuple[dict[str, Any], bytes]:
        if data[:4] != _MAGIC:
            raise ValueError("wrong magic number")
        body = zlib.decompress(data[4:])
        (length,) = struct.unpack_from("<I", body)
        return orjson.loads(body[4 : 4 + length]), body[4 + length :]

    @staticmethod
    def _requests_of(header: dict[str, Any]) -> Requests:
        return Requests(
            tuple(header["request_ids"]),
            np.array(header["event_time_ns"], dtype=np.int64),
            np.array(header["offsets"], dtype=np.int64),
            tuple(header["input_refs"]),
            header["partition"],
        )

    def _load(self, header: dict[str, Any], data: bytes) -> None:
        position = 0
        for size in header["ring"]:
            self._ring.append(Sketch.from_bytes(data[position : position + size]))
            position += size
        count = int(header["digests"])
        digests = np.frombuffer(data, dtype="<u8", count=count, offset=position)
        raw = np.frombuffer(data, dtype=header["dtype"], offset=position + digests.nbytes)
        self._digests = digests.astype(np.uint64)
        self._repeats = np.array(header["repeats"], dtype=np.bool_)
        self._seen = header["seen"]
        self._rows = raw.reshape(-1, self._rows.shape[1]).astype(np.float32)
        self._predicted = np.array(header["predicted"], dtype=np.int64)
        self._requests = self._requests_of(header)


@contextmanager
def _reading(data: bytes) -> Iterator[None]:
    """Turn any error that damaged bytes cause into the documented one."""
    try:
        yield
    except SketchError:
        raise
    except (ValueError, LookupError, TypeError, struct.error, zlib.error) as error:
        raise SketchError(
            f"these {len(data)} bytes are not a monitor state ({error}); restart the lane"
        ) from error


def _exact_in_half(rows: Float32) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(rows.astype(np.float16).astype(np.float32), rows))
