"""Polls the workers: probes for their health, metrics for their lag and latest windows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import aiohttp
import structlog

from latentwatch.stream.dashboard.changes import Changes
from latentwatch.stream.dashboard.exposition import WorkerReport, read_exposition
from latentwatch.stream.dashboard.store import Sample, Store

__all__ = ["Worker", "Workers"]

PATIENCE = aiohttp.ClientTimeout(total=4.0)

State = Literal["unknown", "ready", "not ready", "stuck", "away"]

MOST_BYTES = 4 << 20
"""Of a response: more than 200 lanes need. Other servers must not exhaust our memory."""


@dataclass(frozen=True, slots=True)
class Worker:
    """The state of a worker when it was last polled.

    Parameters
    ----------
    url : str
    state : str
        Result of its probes; ``"unknown"`` before the first poll.
    reason : str
        The reason its probe gives, or why there was no response.
    asked_at : float
        Seconds since 1970.
    report : WorkerReport
    """

    url: str
    state: State = "unknown"
    reason: str = "not polled yet"
    asked_at: float = 0.0
    report: WorkerReport = field(default_factory=WorkerReport)


class Workers:
    """Polls all workers at an interval.

    Parameters
    ----------
    urls : iterable of str
        Such as ``http://127.0.0.1:9464``.
    store : Store
    changes : Changes
    every_seconds : float
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        urls: Iterable[str],
        store: Store,
        changes: Changes,
        every_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.all = {url: Worker(url) for url in urls}
        self._store, self._changes = store, changes
        self._every, self._clock = every_seconds, clock
        self._newest: dict[tuple[Any, ...], Sample] = {}
        self._log = structlog.get_logger("latentwatch.dashboard")

    async def run(self) -> None:
        """Poll until cancelled."""
        if not self.all:
            return
        # no redirects, no proxies from the environment: only the operator's addresses are contacted
        async with aiohttp.ClientSession(timeout=PATIENCE, trust_env=False) as session:
            while True:
                await asyncio.gather(*(self._poll(session, url) for url in self.all))
                await asyncio.sleep(self._every)

    async def _poll(self, session: aiohttp.ClientSession, url: str) -> None:
        before = self.all[url]
        try:
            worker = await self._request(session, url)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = f"no response ({str(error) or type(error).__name__}): check that it is running"
            worker = replace(before, state="away", reason=reason, asked_at=self._clock())
        self.all[url] = worker
        if worker.state != before.state:
            self._log.info("worker", url=url, state=worker.state, reason=worker.reason)
        await self._keep(worker)
        self._changes.publish("workers")

    async def _request(self, session: aiohttp.ClientSession, url: str) -> Worker:
        alive, why_not = await self._probe(session, f"{url}/livez")
        ready, reason = await self._probe(session, f"{url}/readyz")
        _, text = await _page(session, f"{url}/metrics")
        now = self._clock()
        report = await asyncio.to_thread(read_exposition, text, now)
        state: State = "ready" if alive and ready else "not ready" if alive else "stuck"
        return Worker(url, state, reason if alive else why_not, now, report)

    async def _probe(self, session: aiohttp.ClientSession, url: str) -> tuple[bool, str]:
        status, text = await _page(session, url)
        reason = json.loads(text).get("reason", "")
        return status == 200, str(reason)[:300]

    async def _keep(self, worker: Worker) -> None:
        """Store the samples that belong to a new window."""
        if worker.state == "away":
            return
        new = []
        for sample in worker.report.samples:
            series = (sample.model, sample.version, sample.partition, sample.layer)
            if _window(sample) != _window(self._newest.get(series)):
                self._newest[series] = sample
                new.append(sample)
        if new:
            await asyncio.to_thread(self._store.take_samples, new)
            self._changes.publish("samples")


def _window(sample: Sample | None) -> tuple[Any, ...]:
    """What identifies a window; the time of an idle lane is only known to a millisecond."""
    return () if sample is None else (sample.T, sample.E, sample.score, sample.threshold)


async def _page(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url, allow_redirects=False) as response:
        content = await response.content.read(MOST_BYTES)
        while not response.content.at_eof() and len(content) < MOST_BYTES:
            content += await response.content.read(MOST_BYTES)
        return response.status, content.decode()
