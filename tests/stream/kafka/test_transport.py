"""The worker's consumer does not wait while records are ready; Faust's waits for up to a second."""

import asyncio
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from latentwatch.stream.kafka.transport import WAIT_SECONDS
from latentwatch.stream.service.app import build_app
from latentwatch.stream.service.engine import Engine
from latentwatch.stream.settings import Settings


@pytest.fixture
def consumer() -> Iterator[Any]:
    settings = Settings(bootstrap_servers="one:1,two:2")
    engine = Engine(settings)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def nothing(*_: Any) -> None: ...

    async def made() -> Any:
        app = build_app(settings, engine)
        return app.transport.create_consumer(
            nothing, on_partitions_revoked=nothing, on_partitions_assigned=nothing
        )

    # within its loop: Faust would otherwise take the one of another test
    consumer = run(made())
    yield consumer
    consumer._thread.thread_loop.close()
    loop.run_until_complete(engine.stop())
    asyncio.set_event_loop(None)
    loop.close()


def run(work: Any) -> Any:
    return asyncio.get_event_loop().run_until_complete(work)


def test_the_transport_asks_the_brokers_of_the_settings(consumer: Any) -> None:
    assert [str(url) for url in consumer.transport.url] == ["kafka://one:1", "kafka://two:2"]


def test_a_broker_may_not_hold_an_answer_for_long(consumer: Any) -> None:
    async def made() -> Any:
        kafka = consumer._thread._create_consumer(asyncio.get_running_loop())
        await kafka.stop()
        return kafka

    assert run(made())._fetch_max_wait_ms == 1e3 * WAIT_SECONDS


def test_polls_are_short_with_partitions_and_without(consumer: Any, monkeypatch: Any) -> None:
    asked = []

    async def getmany(active_partitions: set[TP], timeout: float) -> dict[TP, Any]:
        asked.append((set(active_partitions), timeout))
        return {}

    monkeypatch.setattr(consumer, "_getmany", getmany)
    consumer.flow_active = True

    async def poll(partitions: set[TP]) -> tuple[Any, float]:
        monkeypatch.setattr(consumer, "_get_active_partitions", lambda: partitions)
        started = time.monotonic()
        found = await consumer._wait_next_records(1.0)
        return found, time.monotonic() - started

    some = {TP("activations", 0)}
    assert run(poll(some))[0] == ({}, some)
    assert asked == [(some, WAIT_SECONDS)]
    found, seconds = run(poll(set()))
    assert found == ({}, set())
    assert seconds < 10 * WAIT_SECONDS
    assert len(asked) == 1


def test_the_end_of_one_rebalance_does_not_resume_what_the_next_has_stopped(
    consumer: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(consumer.app, "on_rebalance_return", lambda: None)

    async def changes() -> None:
        resume = asyncio.Event()

        async def slow() -> None:
            await resume.wait()

        await consumer.on_partitions_revoked(set())
        await consumer.on_partitions_assigned({TP("activations", 0)}, 1)
        monkeypatch.setattr(consumer.app, "on_rebalance_complete", SimpleNamespace(send=slow))
        first = asyncio.create_task(_resumed(consumer))
        await asyncio.sleep(0)
        # before the first has gone back to what is committed, they change hands again
        await consumer.on_partitions_revoked(set())
        resume.set()
        await first
        assert not consumer.flow_active
        await consumer.on_partitions_assigned({TP("activations", 0)}, 2)
        assert not consumer.flow_active
        await _resumed(consumer)
        assert consumer.flow_active

    run(changes())


async def _resumed(consumer: Any) -> None:
    """What Faust does at the end of a change, as far as it concerns the flow."""
    consumer.resumable = consumer.settled
    await consumer.app.on_rebalance_complete.send()
    consumer.resume_flow()


def test_a_worker_without_partitions_stops_reading_during_a_rebalance_too(
    consumer: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(consumer, "assignment", set)
    consumer.resume_flow()
    run(consumer.on_partitions_revoked(set()))
    assert not consumer.flow_active


def test_going_back_waits_for_a_poll_and_polls_wait_for_it(consumer: Any, monkeypatch: Any) -> None:
    some, happened = {TP("activations", 0)}, []

    async def getmany(active_partitions: set[TP], timeout: float) -> dict[TP, Any]:
        happened.append("poll begins")
        await asyncio.sleep(timeout)
        happened.append("poll ends")
        return {}

    async def seek_to_committed() -> dict[TP, int]:
        happened.append("goes back")
        await asyncio.sleep(WAIT_SECONDS)
        happened.append("is back")
        return {}

    monkeypatch.setattr(consumer, "_getmany", getmany)
    monkeypatch.setattr(consumer, "_get_active_partitions", lambda: some)
    monkeypatch.setattr(consumer, "seek_to_committed", seek_to_committed)
    consumer.resume_flow()

    async def rebalance() -> None:
        first = asyncio.create_task(consumer._wait_next_records(1.0))
        await asyncio.sleep(WAIT_SECONDS / 5)
        consumer.stop_flow()
        second = asyncio.create_task(consumer._wait_next_records(1.0))
        await consumer.perform_seek()
        consumer.resume_flow()
        await asyncio.gather(first, second)

    run(rebalance())
    polled = ["poll begins", "poll ends"]
    assert happened == [*polled, "goes back", "is back", *polled]


@pytest.mark.parametrize("answer", [True, False])
def test_the_coordinator_says_whether_we_are_a_member(
    consumer: Any, monkeypatch: Any, answer: bool
) -> None:
    async def heartbeat() -> bool:
        return answer

    given_a_coordinator(consumer, monkeypatch, heartbeat)
    assert run(consumer.is_member()) is answer


def test_without_an_answer_we_are_not_a_member(consumer: Any, monkeypatch: Any) -> None:
    asked = []

    async def heartbeat() -> bool:
        asked.append(1)
        await asyncio.sleep(0.3)
        raise KafkaConnectionError

    monkeypatch.setattr("latentwatch.stream.kafka.transport.ANSWER_SECONDS", 0.01)
    given_a_coordinator(consumer, monkeypatch, heartbeat)

    async def ask() -> list[bool]:
        first = [await consumer.is_member() for _ in range(3)]
        await asyncio.sleep(0.5)
        return first

    assert run(ask()) == [False] * 3
    assert asked == [1]
    assert consumer._asked.result() is False


def test_a_name_that_has_changed_is_an_error_and_not_a_no(consumer: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(consumer._thread, "_ensure_consumer", SimpleNamespace)
    with pytest.raises(AttributeError, match="_coordinator"):
        run(consumer.is_member())


def test_a_consumer_that_has_not_started_is_not_a_member(consumer: Any, monkeypatch: Any) -> None:
    assert run(consumer.is_member()) is False
    kafka = SimpleNamespace(_coordinator=None)
    monkeypatch.setattr(consumer._thread, "_ensure_consumer", lambda: kafka)
    assert run(consumer.is_member()) is False


def given_a_coordinator(consumer: Any, monkeypatch: Any, heartbeat: Any) -> None:
    """A consumer whose thread asks the coordinator at once."""

    async def call_thread(work: Any) -> Any:
        return await work()

    kafka = SimpleNamespace(_coordinator=SimpleNamespace(_do_heartbeat=heartbeat))
    monkeypatch.setattr(consumer._thread, "_ensure_consumer", lambda: kafka)
    monkeypatch.setattr(consumer._thread, "call_thread", call_thread)


def test_only_what_was_flushed_is_committed_whatever_faust_acknowledges(consumer: Any) -> None:
    place = TP("activations", 0)
    # as a stream does that reads on after an error: the batch that failed is missing
    consumer._acked[place] += [5, 6, 7]
    consumer._acked_index[place].update({5, 6, 7})
    assert consumer._filter_committable_offsets([place]) == {}
    consumer.flushed(place, 3)
    consumer.flushed(place, 2)
    consumer._acked[place] += [8]
    assert consumer._filter_committable_offsets([place]) == {place: 3}
    consumer._committed_offset[place] = 3
    assert consumer._filter_committable_offsets([place]) == {}


def test_what_was_flushed_before_partitions_changed_hands_is_not_committed_after(
    consumer: Any, monkeypatch: Any
) -> None:
    place = TP("activations", 0)

    async def nothing(*_: Any, **__: Any) -> None: ...

    monkeypatch.setattr(consumer, "_on_partitions_revoked", nothing)
    monkeypatch.setattr(consumer, "_on_partitions_assigned", nothing)
    consumer.flushed(place, 3)
    run(consumer.on_partitions_revoked({place}))
    assert consumer._filter_committable_offsets([place]) == {}
    consumer.flushed(place, 3)  # a batch that was being worked on meanwhile
    run(consumer.on_partitions_assigned({place}, 1))
    assert consumer._filter_committable_offsets([place]) == {}
