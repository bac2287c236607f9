"""An offline replay on all cores: one process per partition of the recording.

Lanes of different partitions are independent, so each process reads and decides on its own; the
rates of the hours are added up here. The records are ordered by partition and the same on any
machine.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from latentwatch.detector import Baseline
from latentwatch.detector.featuriser import NUMPY, Featuriser
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.rates import FindBaseline
from latentwatch.stream.recording import Recording
from latentwatch.stream.replay.offline import OfflineReplay
from latentwatch.stream.settings import Settings

__all__ = ["replay_recording"]

Progress = Callable[[int, int], None]

LEAST_ROWS = 50_000
"""Shorter recordings are done before other processes have started."""

POLL_SECONDS = 0.2


def replay_recording(
    recording: Recording,
    settings: Settings,
    find_baseline: FindBaseline,
    progress: Progress,
    least_rows: int = LEAST_ROWS,
    featuriser: Featuriser = NUMPY,
) -> tuple[Iterator[Record], Counter[str]]:
    """Decide on a recording with all available cores.

    Parameters
    ----------
    recording : Recording
    settings : Settings
    find_baseline : callable of (model, version)
    progress : callable of (rows done, rows in all)
    least_rows : int
        Fewest rows for which other processes are worth starting.
    featuriser : Featuriser
        What executes the feature maps; each process gets a copy.

    Returns
    -------
    records : iterator of Record
        Of the output topics.
    refused : Counter
        Messages refused, by reason; complete when the records are.
    """
    replay = OfflineReplay(settings, find_baseline)
    cores = min(len(recording.partitions), len(os.sched_getaffinity(0)))
    if cores < 2 or len(recording) < least_rows:
        return _in_threads(recording, settings, find_baseline, progress, featuriser)
    baselines = {name: find_baseline(*name) for name in recording.models}
    work = _Work(recording, settings, baselines, featuriser)
    return replay.with_rates(_in_processes(work, cores, progress, replay.refused)), replay.refused


def _in_threads(
    recording: Recording,
    settings: Settings,
    find_baseline: FindBaseline,
    progress: Progress,
    featuriser: Featuriser,
) -> tuple[Iterator[Record], Counter[str]]:
    pool = ThreadPoolExecutor()
    replay = OfflineReplay(settings, find_baseline, pool, featuriser)

    def records() -> Iterator[Record]:
        with pool:
            yield from replay.run(recording.messages(progress))

    return records(), replay.refused


@dataclass(frozen=True, slots=True)
class _Work:
    """What every process receives once."""

    recording: Recording
    settings: Settings
    baselines: dict[tuple[str, str], Baseline | None]
    featuriser: Featuriser

    def partition(self, number: int, progress: Progress) -> tuple[list[Record], Counter[str]]:
        own = self.recording.select(partition=number)
        find = self.baselines.get
        replay = OfflineReplay(self.settings, lambda *name: find(name), featuriser=self.featuriser)
        return list(replay.lanes(own.messages(progress))), replay.refused


def _in_processes(
    work: _Work, cores: int, progress: Progress, refused: Counter[str]
) -> Iterator[Record]:
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    total = len(work.recording)
    with ProcessPoolExecutor(cores, context, _begin, (work, done)) as pool:
        try:
            for future in [pool.submit(_decide, number) for number in work.recording.partitions]:
                while not future.done():
                    wait([future], POLL_SECONDS)
                    progress(done.value, total)
                records, own = future.result()
                refused.update(own)
                yield from records
        finally:
            pool.shutdown(cancel_futures=True)
    progress(total, total)


_work: _Work
_done: Any


def _begin(work: _Work, done: Any) -> None:
    """In each process, before anything else."""
    global _work, _done
    _work, _done = work, done


def _decide(partition: int) -> tuple[list[Record], Counter[str]]:
    before = 0

    def progress(rows: int, _: int) -> None:
        nonlocal before
        with _done.get_lock():
            _done.value += rows - before
        before = rows

    return _work.partition(partition, progress)
