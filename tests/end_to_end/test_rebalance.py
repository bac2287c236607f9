"""Workers come and go: no row is lost, none is counted twice."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytestmark = pytest.mark.broker

MODELS = [("signs", "1"), ("lights", "2"), ("ghost", "1")]
PARTITIONS, STEPS = 6, 10
HANDOVERS = 3
SETTLED_SECONDS = 4.0


class Flow:
    """Continuous traffic: each step sends one message per model and partition."""

    def __init__(self, service: Any, traffic: Any, partitions: int = PARTITIONS) -> None:
        self.service, self.requests = service, Counter[tuple[str, int]]()
        self._partitions = partitions
        self._steps = self._messages(traffic)

    def _messages(self, traffic: Any) -> Iterator[list[Any]]:
        for number in itertools.count():
            hour, step = divmod(number, STEPS)
            messages = []
            for partition, (model, version) in itertools.product(range(self._partitions), MODELS):
                part = step * self._partitions + partition
                message = traffic.message(model, version, hour, part, STEPS * self._partitions)
                messages.append((partition, *message))
                self.requests[model, hour] += 48
            yield messages

    def step(self) -> bool:
        """Send a message to each lane; returns True, so that it can be part of a condition."""
        self.service.send(next(self._steps))
        return True

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Keep sending until a condition holds."""
        self.service.wait_until(what, lambda: self.step() and condition())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send traffic in the background, as fast as possible."""
        ended = threading.Event()

        def send() -> None:
            while not ended.is_set():
                self.step()

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            ended.set()
            sender.join()


def test_counts_are_exact_while_a_second_worker_joins_and_leaves(
    kafka_bootstrap: str, topic_prefix: str, make_service: Any, traffic: Any
) -> None:
    with make_service(kafka_bootstrap, topic_prefix, partitions=PARTITIONS) as service:
        flow = Flow(service, traffic)
        stays = service.start_worker()
        flow.until("first worker at work", lambda: service.taken(0) >= 0)
        guest = service.start_worker()
        flow.until("second worker takes over", lambda: guest.takeovers > 0)
        for _ in range(10):
            flow.step()
        before = stays.takeovers
        guest.stop()
        flow.until("first worker has all", lambda: stays.takeovers >= before + PARTITIONS)
        for _ in range(5):
            flow.step()
        service.wait_for_requests(flow.requests)
        stays.stop()
        outputs = service.read()
        assert outputs.requests == flow.requests
        assert outputs.dead_letter == []


def test_counts_are_exact_while_workers_that_had_nothing_take_over(
    kafka_bootstrap: str, topic_prefix: str, make_service: Any, traffic: Any
) -> None:
    with make_service(kafka_bootstrap, topic_prefix, partitions=2) as service:
        flow = Flow(service, traffic, partitions=2)
        with flow.running():
            first, second = service.start_worker(), service.start_worker()
            service.wait_until("both at work", lambda: first.takeovers > 0 < second.takeovers)
            members = [first, second]
            for _ in range(HANDOVERS):
                members.append(service.start_worker())
                # two partitions for three workers: the latest worker has none
                time.sleep(SETTLED_SECONDS)
                assert not members[-1].takeovers
                members.pop(0).stop()
                service.wait_until("the spare takes over", lambda: members[-1].takeovers > 0)
        service.wait_for_requests(flow.requests)
        for worker in members:
            worker.stop()
        outputs = service.read()
        assert outputs.requests == flow.requests
        assert outputs.dead_letter == []
