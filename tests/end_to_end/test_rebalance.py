"""Workers come and go: no row is lost, none is counted twice."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.broker

MODELS = [("signs", "1"), ("lights", "2"), ("ghost", "1")]
PARTITIONS, STEPS = 6, 10


class Flow:
    """Traffic that does not stop: each step sends a message a model and partition."""

    def __init__(self, service: Any, traffic: Any) -> None:
        self.service, self.requests = service, Counter[tuple[str, int]]()
        self._steps = self._messages(traffic)

    def _messages(self, traffic: Any) -> Iterator[list[Any]]:
        for number in itertools.count():
            hour, step = divmod(number, STEPS)
            messages = []
            for partition, (model, version) in itertools.product(range(PARTITIONS), MODELS):
                part = step * PARTITIONS + partition
                message = traffic.message(model, version, hour, part, STEPS * PARTITIONS)
                messages.append((partition, *message))
                self.requests[model, hour] += 48
            yield messages

    def step(self) -> bool:
        """Send a message to each lane; true, so that it can stand in a condition."""
        self.service.send(next(self._steps))
        return True

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Send on until a condition holds."""
        self.service.wait_until(what, lambda: self.step() and condition())


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
