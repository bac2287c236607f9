"""What a worker would publish for a recording, without a broker: same processor, same rates.

Lanes are independent, and the rates of an hour are sums. So the latest record of each key equals
that of a worker byte for byte, whatever the interleaving of partitions, batches, flushes and
restarts. Only a wall clock that closed hours in between (`idle_seconds`) leaves a higher revision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice

from latentwatch.detector import Baseline
from latentwatch.detector.featuriser import NUMPY, Featuriser, ParallelFeaturiser
from latentwatch.producers.wire import ActivationBatch, Limits
from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.processor import Processor, RefusedError
from latentwatch.stream.core.rates import FindBaseline, RateAggregator
from latentwatch.stream.recording import Recording
from latentwatch.stream.settings import Settings

__all__ = ["OfflineReplay", "one_baseline"]

_END_OF_TIME = 2**63 - 1

Message = tuple[int, int, ActivationBatch]
"""Partition, offset and batch."""

SLAB = 256
"""Messages of all lanes that are processed together: large products are faster."""


class OfflineReplay:
    """Decides on recorded messages.

    Parameters
    ----------
    settings : Settings
        Run length, lanes, calm, grace and false discovery rate; nothing of Kafka.
    find_baseline : callable of (model, version)
        The baseline of a model version, or None.
    pool : Executor, optional
        Threads that read ahead and featurise; the records do not change.
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
            # no recorded message is from the future
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
        """What the lanes emit: alerts, and the sketches of their hours."""
        for slab in _slabs(messages, self._pool):
            for message in slab:
                try:
                    self._processor.admit(*message)
                except RefusedError as refused:
                    self.refused[refused.reason] += 1
            yield from self._processor.process()
        for key in sorted(self._processor.pending()):
            yield from self._processor.idle(key.partition, key.model, key.version)

    def with_rates(self, records: Iterable[Record]) -> Iterator[Record]:
        """Replace the hour sketches of the lanes by the rates of the hours."""
        for record in records:
            if record.topic != self._topics.hour_sketches:
                yield record
            elif report := self._rates.add(HourPart.from_bytes(record.value or b"")):
                yield from report.to_records(self._topics)


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


def one_baseline(recording: Recording, baseline: Baseline, settings: Settings) -> FindBaseline:
    """Use one baseline, of any version of the model, for the one model version of a recording.

    Raises
    ------
    RecordingError
        The baseline is of another model, or its layers are not in the recording.
    BaselineError
        The baseline does not support the run length.
    """
    model, version = recording.only_model()
    if baseline.model != model:
        raise RecordingError(
            f"the baseline is of {baseline.model}/{baseline.version}, and {recording.url} of "
            f"{model}/{version}: name a baseline of {model}"
        )
    widths = recording.layers()
    missing = [
        f"{name} ({width})"
        for name, width in zip(baseline.layout.names, baseline.layout.widths, strict=True)
        if widths.get(name) != width
    ]
    if missing:
        raise RecordingError(
            f"the baseline judges {', '.join(missing)}, and {recording.url} has "
            f"{', '.join(f'{name} ({width})' for name, width in widths.items())}: name a baseline "
            "of these layers"
        )
    baseline.threshold(settings.average_run_length, settings.lanes)
    return lambda name, number: baseline if (name, number) == (model, version) else None
