"""Is a client copying the model? Evidence for each client, over all of his queries.

A client whose queries are nearer to his earlier ones than those of honest clients are (see
`detector.queries`) gathers evidence. Each query is a fair bet against the hypothesis that he is
honest; what the bets have won since any moment, added up over all moments, is the statistic of
Shiryaev and Roberts,

    R <- discount (1 + R) wager.

Under honest clients the sum of all R grows by at most one a query, so an alarm at ``R >= A`` comes
after A queries on average or later: of all clients together, without a correction for their
number (an e-detector; Shin, Ramdas and Rinaldo 2023). The same reference rows judge every query, so
that no bet is quite fair; the discount allows for five per cent.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import ArrayLike

from detector.calibration import LEAST_RUN_LENGTH
from detector.errors import BaselineError, DimensionError, SketchError
from detector.features import CHUNK_ROWS, Float32, Int64
from detector.queries import QueryReference
from detector.repeats import UInt64, repeated, row_digests

__all__ = ["Extraction", "ExtractionMonitor"]

REMEMBERED = 64
"""Queries of a client that new ones are compared with."""

REPEATS_WITHIN = 256
"""A query that equals one of so many before, to the bit, is a retry."""

DISCOUNT = 0.95

FORGOTTEN_EVERY = 1024
"""Rows of the stream between two looks at how many clients are kept."""

_MAGIC = b"LWX1"


class Extraction(NamedTuple):
    """An alarm: a client whose evidence has reached the threshold.

    Parameters
    ----------
    row : int
        Number of the request, in the call that returned this.
    client : str
    queries : int
        Queries of the client that were judged, up to this one.
    evidence : float
        R; after an alarm it begins anew at 0.
    """

    row: int
    client: str
    queries: int
    evidence: float


@dataclass(slots=True)
class _Client:
    """What is kept of a client."""

    memory: Float32
    digests: UInt64 = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    evidence: float = 0.0
    queries: int = 0
    last_row: int = 0


class ExtractionMonitor:
    """Sequential test of the clients of one stream.

    Parameters
    ----------
    reference : QueryReference
    average_run_length : float
        Queries of honest clients between two false alarms, on average over all clients.
    most_clients : int
        Clients that are remembered, about; those who asked last stay.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> reference = QueryReference.fit(rng.standard_normal((800, 8)), np.zeros(800, int))
    >>> monitor = ExtractionMonitor(reference, average_run_length=100_000)
    >>> honest = rng.standard_normal((300, 8))
    >>> monitor.update(honest, np.zeros(300, int), ["alice"] * 300)
    []
    >>> steps = honest[:1] + 0.05 * rng.standard_normal((40, 8))
    >>> [alarm.client for alarm in monitor.update(steps, np.zeros(40, int), ["mallory"] * 40)][:1]
    ['mallory']
    """

    def __init__(
        self,
        reference: QueryReference,
        *,
        average_run_length: float,
        most_clients: int = 256,
    ) -> None:
        if not LEAST_RUN_LENGTH <= average_run_length < np.inf:
            raise BaselineError(
                f"average_run_length must be at least {LEAST_RUN_LENGTH} queries, not "
                f"{average_run_length:g}"
            )
        if most_clients < 1:
            raise BaselineError(f"most_clients must be at least 1, not {most_clients}")
        self.reference = reference
        self.threshold, self.most_clients = float(average_run_length), most_clients
        self._wagers = DISCOUNT * reference.wagers()
        self._clients: dict[str, _Client] = {}
        self._seen = 0

    @property
    def evidence(self) -> dict[str, float]:
        """R of each client that is remembered."""
        return {name: client.evidence for name, client in self._clients.items()}

    def update(
        self,
        activations: ArrayLike,
        predicted: ArrayLike,
        clients: Sequence[str | None],
    ) -> list[Extraction]:
        """Take requests in; return the alarms, in the order of the requests.

        Parameters
        ----------
        activations : array [n, d]
            Of the layer of the reference.
        predicted : int array [n]
        clients : n strings or None
            Who asked; requests of nobody known are passed over.

        Raises
        ------
        ActivationsError
            Rows that do not fit the reference. The monitor is left as it was.
        """
        rows, classes = self.reference.check(activations, predicted)
        if len(clients) != len(rows):
            raise DimensionError(f"{len(clients)} clients were given for {len(rows)} rows")
        points = self.reference.points(rows, self._seen % CHUNK_ROWS)
        digests = row_digests(rows, classes)
        groups = self.reference.group_of_class[classes]
        alarms: list[Extraction] = []
        for part in self._parts(len(rows)):
            alarms += self._take(part, points, groups, digests, clients)
        return sorted(alarms)

    def _parts(self, count: int) -> Iterator[slice]:
        """Cut where clients are forgotten: always at the same rows of the stream."""
        first = 0
        while first < count:
            end = min(count, first + FORGOTTEN_EVERY - self._seen % FORGOTTEN_EVERY)
            yield slice(first, end)
            self._seen += end - first
            if not self._seen % FORGOTTEN_EVERY:
                self._forget()
            first = end

    def _forget(self) -> None:
        newest_first = sorted(self._clients.items(), key=lambda item: -item[1].last_row)
        self._clients = dict(newest_first[: self.most_clients])

    def _take(
        self,
        part: slice,
        points: Float32,
        groups: Int64,
        digests: UInt64,
        clients: Sequence[str | None],
    ) -> list[Extraction]:
        own: dict[str, list[int]] = {}
        for row in range(part.start, part.stop):
            if (name := clients[row]) is not None:
                own.setdefault(name, []).append(row)
        fresh = {
            name: self._without_repeats(name, np.array(rows), digests, part.start)
            for name, rows in own.items()
        }
        ranks = self._ranks(fresh, points, groups)
        return [
            alarm for name, rows in fresh.items() for alarm in self._bet(name, rows, ranks[name])
        ]

    def _without_repeats(self, name: str, rows: Int64, digests: UInt64, start: int) -> Int64:
        """Those of a client's rows that are no retries; takes note that he was here."""
        empty = np.empty((0, self.reference.dimensions), dtype=np.float32)
        client = self._clients.setdefault(name, _Client(empty))
        known = np.concatenate([client.digests, digests[rows]])
        repeats = repeated(known, REPEATS_WITHIN)[len(client.digests) :]
        client.digests = known[-REPEATS_WITHIN:].copy()
        client.last_row = self._seen + int(rows[-1]) - start
        return rows[~repeats]

    def _ranks(self, fresh: dict[str, Int64], points: Float32, groups: Int64) -> dict[str, Int64]:
        """Ranks of the queries of each client, in one product; 0 for his very first one."""
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
            ranks = self.reference.ranks(
                points[own], groups[own], np.concatenate(earlier), np.concatenate(which)
            )
            ends = np.cumsum([0, *map(len, judged)])
            for number, name in enumerate(found):
                found[name][found[name] > 0] = ranks[ends[number] : ends[number + 1]]
        return found

    def _bet(self, name: str, rows: Int64, ranks: Int64) -> list[Extraction]:
        client, threshold = self._clients[name], self.threshold
        judged = ranks > 0
        wagers = self._wagers[ranks[judged] - 1].tolist()

        def won(evidence: float, wager: float) -> float:
            return (1.0 + (0.0 if evidence >= threshold else evidence)) * wager

        # one by one: sums of logarithms would have other last bits for other batches
        gathered = np.array(list(accumulate(wagers, won, initial=client.evidence))[1:])
        reached = np.flatnonzero(gathered >= threshold)
        alarms = [
            Extraction(int(row), name, client.queries + int(place) + 1, float(gathered[place]))
            for place, row in zip(reached, rows[judged][reached], strict=True)
        ]
        if len(gathered):
            client.evidence = float(gathered[-1])
        client.queries += len(gathered)
        return alarms

    def state_bytes(self) -> bytes:
        """Everything needed to go on elsewhere with the same alarms; compressed."""
        header = orjson.dumps(
            {
                "seen": self._seen,
                "clients": [
                    [name, c.evidence, c.queries, c.last_row, len(c.memory), len(c.digests)]
                    for name, c in self._clients.items()
                ],
            }
        )
        arrays = [
            array
            for client in self._clients.values()
            for array in (
                client.memory.astype("<i2").tobytes(),
                client.digests.astype("<u8").tobytes(),
            )
        ]
        body = b"".join([struct.pack("<I", len(header)), header, *arrays])
        return _MAGIC + zlib.compress(body, level=1)

    def load_state(self, data: bytes) -> None:
        """Take over what `state_bytes` gave, of a monitor with the same reference.

        Raises
        ------
        SketchError
            The bytes are damaged, or belong to another reference.
        """
        try:
            if data[:4] != _MAGIC:
                raise ValueError("wrong magic number")
            header, arrays = _opened(data)
            clients = dict(self._restored(arrays, *facts) for facts in header["clients"])
            seen = int(header["seen"])
        except (ValueError, LookupError, TypeError, zlib.error, struct.error) as error:
            raise SketchError(
                f"these bytes are no state of an extraction monitor: {error}"
            ) from error
        self._clients, self._seen = clients, seen

    def _restored(
        self,
        arrays: _Reader,
        name: str,
        evidence: float,
        queries: int,
        last_row: int,
        remembered: int,
        digests: int,
    ) -> tuple[str, _Client]:
        width = self.reference.dimensions
        memory = arrays.take("<i2", remembered * width).reshape(remembered, width)
        known = arrays.take("<u8", digests).astype(np.uint64)
        return name, _Client(memory.astype(np.float32), known, evidence, queries, last_row)


class _Reader:
    """Arrays one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, dtype: str, count: int) -> Any:
        found = np.frombuffer(self._data, dtype, count, self._at) if count else np.empty(0, dtype)
        self._at += found.nbytes
        return found


def _opened(data: bytes) -> tuple[dict[str, Any], _Reader]:
    body = zlib.decompress(data[4:])
    (length,) = struct.unpack_from("<I", body)
    return orjson.loads(body[4 : 4 + length]), _Reader(body[4 + length :])
