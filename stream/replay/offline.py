"""What a worker publishes of a recording, without a broker: the same processor, the same rates.

Lanes know nothing of each other, and the rates of an hour are sums; so the records that stand in
the end, the newest of each key, are those of a worker to the byte, whatever the interleaving of
the partitions, batches, flushes and restarts. Only a wall clock that closed hours in between
(`idle_seconds`) leaves a higher revision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice

from latentwatch.detector.featuriser import NUMPY, Featuriser, ParallelFeaturiser
from latentwatch.producers.wire import ActivationBatch, Limits
from latentwatch.stream.core.events import Record, report_records
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.processor import Processor, RefusedError
from latentwatch.stream.core.rates import FindBaseline, RateAggregator
from latentwatch.stream.settings import Settings

__all__ = ["OfflineReplay"]

_END_OF_TIME = 2**63 - 1

Message = tuple[int, int, ActivationBatch]
"""Partition, offset, and what was at it."""

SLAB = 256
"""Messages that are taken together, of all lanes: large products are faster."""


class OfflineReplay:
    """Decides on recorded messages.

    Parameters
    ----------
    settings : Settings
        Run length, lanes, calm, grace and false discovery rate; nothing of Kafka.
    find_baseline : callable of (model, version)
        The baseline that judges a model version, or None.
    pool : Executor, optional
        Threads that read ahead and featurise; the records are the same.
    featuriser : Featuriser
        What executes the feature maps.
    """

    def __init__(
        self,
        settings: Settings,
        find_baseline: FindBaseline,
        pool: Executor | None = None,
        featuriser: Featuriser = NUMPY,
    ) -> None:
        self._topics, self._pool = settings.topics(), pool
        if pool is not None:
            featuriser = ParallelFeaturiser(featuriser, pool.map)
        self._processor = Processor(
            self._topics,
            find_baseline,
            settings.policy(),
            limits=Limits(value_bytes=settings.max_message_bytes),
            # what was recorded had come when it was recorded
            newest_ns=lambda: _END_OF_TIME,
            featuriser=featuriser,
        )
        self._rates = RateAggregator(
            find_baseline, settings.false_discovery_rate, settings.hour_sketch_retention_hours
        )
        self.refused: Counter[str] = Counter()

    def run(self, messages: Iterable[Message]) -> Iterator[Record]:
        """Records of the output topics, of (partition, offset, batch) in the order of offsets."""
        return self.with_rates(self.lanes(messages))

    def lanes(self, messages: Iterable[Message]) -> Iterator[Record]:
        """What the lanes tell: alerts, and what each saw of its hours."""
        for slab in _slabs(messages, self._pool):
            for message in slab:
                try:
                    self._processor.admit(*message)
                except RefusedError as refused:
                    self.refused[refused.reason] += 1
            yield from self._processor.process()
        for key in sorted(self._processor.untold()):
            yield from self._processor.idle(key.partition, key.model, key.version)

    def with_rates(self, records: Iterable[Record]) -> Iterator[Record]:
        """Put the rates of an hour in the place of what a lane saw of it."""
        for record in records:
            if record.topic != self._topics.hour_sketches:
                yield record
            elif report := self._rates.add(HourPart.from_bytes(record.value or b"")):
                yield from report_records(self._topics, report)


def _slabs(messages: Iterable[Message], pool: Executor | None) -> Iterator[list[Message]]:
    """Messages in slabs; with a pool, the next one is read while the last one is decided on."""
    whole = iter(messages)

    def read() -> list[Message]:
        return list(islice(whole, SLAB))

    if pool is None:
        while slab := read():
            yield slab
        return
    ahead = pool.submit(read)
    while slab := ahead.result():
        ahead = pool.submit(read)
        yield slab
