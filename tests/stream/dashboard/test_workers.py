"""Workers that are ready, stuck, unreachable, or something else altogether."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from latentwatch.stream.dashboard.changes import Changes
from latentwatch.stream.dashboard.exposition import read_exposition
from latentwatch.stream.dashboard.history import History
from latentwatch.stream.dashboard.store import Store
from latentwatch.stream.dashboard.workers import MOST_BYTES, Workers
from latentwatch.stream.service.metrics import TEXT_FORMAT
from latentwatch.stream.service.metrics.health import Verdict
from latentwatch.stream.service.metrics.server import Answer, Page, serve, verdict_page

TEXT = """\
latentwatch_build_info{python="3.11.7",software="0.1.0"} 1.0
latentwatch_lag_messages{partition="0"} 3.0
latentwatch_lag_messages{partition="4"} 2.0
latentwatch_rows_total{model="signs",version="1"} 1600.0
latentwatch_dead_letters_total{reason="bad-key"} 2.0
latentwatch_event_time_age_seconds{model="signs",version="1",partition="0"} 60.0
latentwatch_score{model="signs",version="1",partition="0"} 9.5
latentwatch_threshold{model="signs",version="1",partition="0"} 7.5
latentwatch_T{model="signs",version="1",partition="0",layer="deep"} 1.25
latentwatch_E{model="signs",version="1",partition="0",layer="deep"} 800.0
latentwatch_layer_score{model="signs",version="1",partition="0",layer="deep"} 9.5
"""


def pages(text: str = TEXT, *, alive: bool = True, ready: bool = True) -> Mapping[str, Page]:
    return {
        "/metrics": lambda: Answer(200, TEXT_FORMAT, text.encode()),
        "/livez": verdict_page(lambda: Verdict(alive, "7 messages wait")),
        "/readyz": verdict_page(lambda: Verdict(ready, "watches 3 partitions")),
    }


async def polled(workers: Workers, times: int = 1) -> None:
    """Wait until they have been polled so many times."""
    task = asyncio.create_task(workers.run())
    for _ in range(times):
        before = [worker.asked_at for worker in workers.all.values()]
        async with asyncio.timeout(20):
            while [worker.asked_at for worker in workers.all.values()] == before:
                await asyncio.sleep(0.01)
    task.cancel()


def poll(store: Store, answers: Mapping[str, Page], times: int = 1) -> Any:
    """The state of a worker with these pages."""
    with serve("127.0.0.1", 0, answers) as port:
        ticks = iter(range(10**6, 2 * 10**6))
        workers = Workers(
            [f"http://127.0.0.1:{port}"], store, Changes(), 0.01, lambda: float(next(ticks))
        )
        asyncio.run(polled(workers, times))
    (worker,) = workers.all.values()
    return worker


def test_the_figures_of_a_worker_are_read_with_its_event_time() -> None:
    report = read_exposition(TEXT, 1000.0)
    assert (report.version, report.rows, report.dead_letters) == ("0.1.0", 1600, 2)
    assert report.lags == {0: 3, 4: 2}
    whole, deep = report.samples
    assert (whole.at, whole.layer, whole.score, whole.threshold) == (940.0, "", 9.5, 7.5)
    assert (deep.layer, deep.T, deep.E, deep.threshold) == ("deep", 1.25, 800.0, None)


def test_a_worker_without_metrics_yet_is_read() -> None:
    assert read_exposition("", 0.0).samples == []


@pytest.mark.parametrize(
    ("answers", "state", "reason"),
    [
        (pages(), "ready", "watches 3 partitions"),
        (pages(ready=False), "not ready", "watches 3 partitions"),
        (pages(alive=False, ready=False), "stuck", "7 messages wait"),
        (pages("latentwatch_score{ garbage"), "away", "no response"),
        ({"/livez": lambda: Answer(200, "text/html", b"<html>")}, "away", "no response"),
        (pages("x" * (MOST_BYTES + 10)), "away", "no response"),
    ],
)
def test_health_is_what_the_probes_say(
    store: Store, answers: Mapping[str, Page], state: str, reason: str
) -> None:
    worker = poll(store, answers)
    assert worker.state == state
    assert reason in worker.reason


def test_an_unreachable_worker_keeps_its_last_report(store: Store) -> None:
    with serve("127.0.0.1", 0, pages()) as port:
        workers = Workers([f"http://127.0.0.1:{port}"], store, Changes(), 0.01)
        asyncio.run(polled(workers))
    asyncio.run(polled(workers))
    (worker,) = workers.all.values()
    assert (worker.state, worker.report.rows) == ("away", 1600)


def test_each_window_is_stored_once(store: Store) -> None:
    count = iter(range(10**6))

    def text() -> bytes:
        score = 5.0 + next(count) // 3  # every third time there is a new window
        return TEXT.replace("} 9.5", f"}} {score}").encode()

    answers: dict[str, Callable[[], Answer]] = {
        **pages(),
        "/metrics": lambda: Answer(200, TEXT_FORMAT, text()),
    }
    poll(store, answers, times=7)
    scores = [p["score"] for p in History(store.path).samples("signs", "1", 0.0, 1e9)["deep"]]
    assert scores == [5.0, 6.0, 7.0][: len(scores)]
    assert len(scores) >= 2
