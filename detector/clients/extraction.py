"""Model extraction: the evidence that a client copies the model, over all its queries.

Evidence grows when the queries of a client are nearer to one another than those of honest clients
(see `detector.queries`). Each query is a fair bet against the hypothesis that the client is honest.
The winnings since each moment, summed over all moments, are the statistic of Shiryaev and Roberts:

    R <- discount (1 + R) wager.

For honest clients the sum of all R grows by at most one per query, so the first ``R >= A`` comes
after A queries on average or later. This holds across all clients, without a correction for their
number (an e-detector; Shin, Ramdas and Rinaldo 2023). All queries are judged by the same reference
rows, so the bets are not perfectly fair; the discount allows for five per cent.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import ArrayLike

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.errors import BaselineError, DimensionError, SketchError
from latentwatch.detector.features import CHUNK_ROWS, Float32, Int64
from latentwatch.detector.rows import UInt64, row_digests

__all__ = ["SEGMENT_ROWS", "Extraction", "ExtractionMonitor", "segments"]

REMEMBERED = 64
"""Latest queries of a client with which new ones are compared."""

REPEATS_WITHIN = 64
"""A query that equals one of this many latest distinct queries of its client is a retry."""

DISCOUNT = 0.95

SEGMENT_ROWS = 1024
"""Rows of the stream between two checks of how many clients are kept."""

_MAGIC = b"LWX2"


def segments(seen: int, count: int) -> Iterator[slice]:
    """Cut the `count` rows after the first `seen` ones at the ends of segments."""
    first = 0
    while first < count:
        end = min(count, first + SEGMENT_ROWS - (seen + first) % SEGMENT_ROWS)
        yield slice(first, end)
        first = end


class Extraction(NamedTuple):
    """A query at which the evidence against its client reaches the threshold.

    Parameters
    ----------
    row : int
        Index of the request in the call that returned this.
    client : str
    queries : int
        Queries of the client since the likeliest beginning, from which the product of wagers is
        largest, as in CUSUM (Page 1954).
    evidence : float
        R.
    first_offset, first_event_time_ns : int
        The first of these queries.
    """

    row: int
    client: str
    queries: int
    evidence: float
    first_offset: int
    first_event_time_ns: int


@dataclass(slots=True)
class Retries:
    """Recognises queries of a client that equal a recent one bit for bit."""

    digests: dict[int, None] = field(default_factory=dict)

    def has(self, digest: int) -> bool:
        """Whether a query is a retry; remembers it if not."""
        if digest in self.digests:
            return True
        self.digests[digest] = None
        if len(self.digests) > REPEATS_WITHIN:
            del self.digests[next(iter(self.digests))]
        return False


@dataclass(slots=True)
class _Client:
    """State of one client."""

    memory: Float32
    retries: Retries = field(default_factory=Retries)
    evidence: float = 0.0
    product: float = 0.0
    """Product of the wagers since the likeliest beginning; below one, a new beginning starts."""
    queries: int = 0
    first_offset: int = 0
    first_event_time_ns: int = 0
    last_row: int = 0

    def facts(self) -> list[Any]:
        """Plain values of everything but the arrays."""
        return [
            self.evidence, self.product, self.queries,
            self.first_offset, self.first_event_time_ns, self.last_row,
        ]  # fmt: skip


class Queries(NamedTuple):
    """The values of requests that the test needs; one entry per request."""

    points: Float32
    groups: Int64
    digests: UInt64
    clients: Sequence[str | None]
    offsets: Int64
    event_time_ns: Int64


class ExtractionMonitor:
    """Sequential test of the clients of one stream.

    Parameters
    ----------
    baseline : Baseline
    average_run_length : float
        Honest queries per false alarm on average, across all clients.
    lanes : int
        Streams that share that budget.
    most_clients : int
        Approximate number of clients to remember; the most recent ones stay.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> validation = {"deep": rng.standard_normal((800, 8))}
    >>> baseline = Baseline.fit(validation, np.zeros(800, int), model="m", version="1",
    ...                         longest_window=128, random_features=64,
    ...                         simulated_requests=50_000)
    >>> monitor = ExtractionMonitor(baseline, average_run_length=100_000)
    >>> honest = rng.standard_normal((300, 8))
    >>> monitor.update({"deep": honest}, np.zeros(300, int), ["alice"] * 300)
    []
    >>> steps = {"deep": honest[:1] + 0.05 * rng.standard_normal((40, 8))}
    >>> alarms = monitor.update(steps, np.zeros(40, int), ["mallory"] * 40)
    >>> alarms[0].client, alarms[0].queries < 30
    ('mallory', True)
    """

    def __init__(
        self,
        baseline: Baseline,
        *,
        average_run_length: float,
        lanes: int = 1,
        most_clients: int = 256,
    ) -> None:
        if not 1 <= average_run_length * lanes < np.inf:
            raise BaselineError(
                f"average_run_length must be a number of queries, not {average_run_length:g}"
            )
        if most_clients < 1:
            raise BaselineError(f"most_clients must be at least 1, not {most_clients}")
        self.baseline = baseline
        self.threshold, self.most_clients = float(average_run_length * lanes), most_clients
        self._wagers = DISCOUNT * baseline.queries.wagers()
        self._clients: dict[str, _Client] = {}
        self._seen = 0

    @property
    def rows_seen(self) -> int:
        """Requests so far, including those without a client."""
        return self._seen

    @property
    def evidence(self) -> dict[str, float]:
        """R of each remembered client."""
        return {name: client.evidence for name, client in self._clients.items()}

    def acquit(self, client: str) -> None:
        """Reset the evidence against a client."""
        if client in self._clients:
            self._clients[client].evidence = self._clients[client].product = 0.0

    def update(
        self,
        activations: Mapping[str, ArrayLike],
        predicted: ArrayLike,
        clients: Sequence[str | None],
    ) -> list[Extraction]:
        """Take in requests; return the queries at which evidence reaches the threshold.

        Parameters
        ----------
        activations : mapping of layer name to array [B, d]
        predicted : int array [B]
        clients : B strings or None
            Client of each request; requests without one are skipped.

        Raises
        ------
        ActivationsError
            The rows do not fit the baseline. The monitor is unchanged.
        """
        rows, classes = self.baseline.rows(activations, predicted)
        running = np.arange(self._seen, self._seen + len(rows), dtype=np.int64)
        return self.push(rows, classes, clients, running, np.zeros_like(running))

    def push(
        self,
        rows: Float32,
        predicted: Int64,
        clients: Sequence[str | None],
        offsets: Int64,
        event_time_ns: Int64,
    ) -> list[Extraction]:
        """Take in checked raw rows (see `Baseline.rows`), in the order of the stream.

        The result does not depend on how the stream is split into batches: clients are only
        forgotten at the end of a segment of `SEGMENT_ROWS` rows.
        """
        if len({len(rows), len(predicted), len(clients), len(offsets), len(event_time_ns)}) != 1:
            raise DimensionError(f"{len(clients)} clients were given for {len(rows)} rows")
        if all(client is None for client in clients):
            for _ in self._parts(len(rows)):
                pass
            return []
        queries = Queries(
            self.baseline.queries.points(rows, self._seen % CHUNK_ROWS),
            self.baseline.group_of_class[predicted],
            row_digests(rows, predicted),
            clients,
            offsets,
            event_time_ns,
        )
        found = [alarm for part in self._parts(len(rows)) for alarm in self._take(part, queries)]
        return sorted(found)

    def _parts(self, count: int) -> Iterator[slice]:
        """Cut where clients are forgotten, which is at fixed rows of the stream."""
        for part in segments(self._seen, count):
            yield part
            self._seen += part.stop - part.start
            if not self._seen % SEGMENT_ROWS:
                self._forget()

    def _forget(self) -> None:
        newest_first = sorted(self._clients.items(), key=lambda item: -item[1].last_row)
        self._clients = dict(newest_first[: self.most_clients])

    def _take(self, part: slice, queries: Queries) -> list[Extraction]:
        empty = np.empty((0, self.baseline.queries.dimensions), dtype=np.float32)
        digests = queries.digests[part].tolist()
        found: dict[str, list[int]] = {}
        for row, digest in zip(range(part.start, part.stop), digests, strict=True):
            if (name := queries.clients[row]) is None:
                continue
            client = self._clients.setdefault(name, _Client(empty))
            client.last_row = self._seen + row - part.start
            if not client.retries.has(digest):
                found.setdefault(name, []).append(row)
        fresh = {name: np.array(rows, dtype=np.int64) for name, rows in found.items()}
        ranks = self._ranks(fresh, queries)
        return [
            alarm
            for name, rows in fresh.items()
            for alarm in self._bet(name, rows, ranks[name], queries)
        ]

    def _ranks(self, fresh: dict[str, Int64], queries: Queries) -> dict[str, Int64]:
        """Ranks of the queries of each client, in one product; 0 for its very first query."""
        points, reference = queries.points, self.baseline.queries
        earlier, which, judged = [np.empty_like(points[:0])], [], []
        base, found = 0, {}
        for name, rows in fresh.items():
            client = self._clients[name]
            memory = np.concatenate([client.memory, points[rows]])
            place = len(client.memory) + np.arange(len(rows))[:, None]
            before = place - 1 - np.arange(REMEMBERED)
            has_some = before[:, 0] >= 0
            which.append(np.where(before >= 0, before + base, -1)[has_some])
            judged.append(rows[has_some])
            found[name] = has_some.astype(np.int64)
            earlier.append(memory)
            base += len(memory)
            client.memory = memory[-REMEMBERED:].copy()
        if judged:
            own = np.concatenate(judged)
            ranks = reference.ranks(
                points[own], queries.groups[own], np.concatenate(earlier), np.concatenate(which)
            )
            ends = np.cumsum([0, *map(len, judged)])
            for number, name in enumerate(found):
                found[name][found[name] > 0] = ranks[ends[number] : ends[number + 1]]
        return found

    def _bet(self, name: str, rows: Int64, ranks: Int64, queries: Queries) -> list[Extraction]:
        """Bet on those of a client's rows that have a rank."""
        client, threshold = self._clients[name], self.threshold
        judged = ranks > 0
        wagers = self._wagers[ranks[judged] - 1]
        alarms = []
        # one by one: the last bits of sums of logarithms would depend on the batches
        for row, wager in zip(rows[judged].tolist(), wagers.tolist(), strict=True):
            if client.product < 1.0:
                client.product, client.queries = 1.0, 0
                client.first_offset = int(queries.offsets[row])
                client.first_event_time_ns = int(queries.event_time_ns[row])
            # evidence above the threshold adds nothing, and would take long to fall again
            client.product = min(client.product, threshold) * wager
            client.evidence = (1.0 + min(client.evidence, threshold)) * wager
            client.queries += 1
            if client.evidence >= threshold:
                since = client.first_offset, client.first_event_time_ns
                alarms.append(Extraction(row, name, client.queries, client.evidence, *since))
        return alarms

    def state_bytes(self) -> bytes:
        """The complete state, compressed; a monitor that loads it raises the same alarms."""
        header = orjson.dumps(
            {
                "baseline": self.baseline.sha256,
                "seen": self._seen,
                "clients": [
                    [name, len(c.memory), len(c.retries.digests), *c.facts()]
                    for name, c in self._clients.items()
                ],
            }
        )
        arrays = [
            array
            for client in self._clients.values()
            for array in (
                client.memory.astype("<i2").tobytes(),
                np.array(list(client.retries.digests), dtype="<u8").tobytes(),
            )
        ]
        body = b"".join([struct.pack("<I", len(header)), header, *arrays])
        return _MAGIC + zlib.compress(body, level=1)

    def load_state(self, data: bytes) -> None:
        """Load what `state_bytes` of a monitor with the same baseline returned.

        Raises
        ------
        SketchError
            The bytes are damaged, or belong to another baseline.
        """
        try:
            if data[:4] != _MAGIC:
                raise ValueError("wrong magic number")
            body = zlib.decompress(data[4:])
            (length,) = struct.unpack_from("<I", body)
            header = orjson.loads(body[4 : 4 + length])
            if header["baseline"] != self.baseline.sha256:
                raise ValueError("they belong to another baseline")
            arrays = _Reader(body[4 + length :])
            clients = dict(self._restored(arrays, *facts) for facts in header["clients"])
            seen = int(header["seen"])
        except (ValueError, LookupError, TypeError, zlib.error, struct.error) as error:
            raise SketchError(
                f"these {len(data)} bytes are not a state of an extraction monitor ({error}); "
                "start without it"
            ) from error
        self._clients, self._seen = clients, seen

    def _restored(
        self, arrays: _Reader, name: str, remembered: int, digests: int, *facts: Any
    ) -> tuple[str, _Client]:
        width = self.baseline.queries.dimensions
        memory = arrays.take("<i2", remembered * width).reshape(remembered, width)
        known = dict.fromkeys(arrays.take("<u8", digests).tolist())
        return name, _Client(memory.astype(np.float32), Retries(known), *facts)


class _Reader:
    """Reads arrays that follow one another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, dtype: str, count: int) -> Any:
        found = np.frombuffer(self._data, dtype, count, self._at) if count else np.empty(0, dtype)
        self._at += found.nbytes
        return found
