"""A small baseline, and messages of traffic that it knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from latentwatch.detector import Baseline, Block, Decision, decide
from latentwatch.detector import Requests as BlockRequests
from latentwatch.producers.wire import ActivationBatch, Limits, Message, decode, encode
from latentwatch.stream.core.lane import Lane, LaneKey
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.processor import Incoming, Processor
from latentwatch.stream.service.baselines import BaselineStore, baseline_url
from latentwatch.stream.settings import Settings

HOUR_NS = 3_600 * 10**9
START_HOUR = 476_256  # 2024-05-01T00:00:00Z, in hours since 1970
LAYERS = {"early": 3, "deep": 6}
CLASSES = 2


@dataclass(frozen=True)
class Requests:
    """Two Gaussian classes in two layers, numbered, in event time from `START_HOUR` on."""

    hour_rows: int = 100
    model: str = "signs"
    version: str = "1"

    def batch(self, first: int, rows: int, **changes: Any) -> ActivationBatch:
        """Requests `first` to `first + rows`; ``attacked=True`` puts them off the manifold."""
        attacked = changes.pop("attacked", False)
        number = np.arange(first, first + rows)
        noise = np.stack([np.random.default_rng([1, n]).standard_normal(9) for n in number])
        predicted = (number % CLASSES).astype(np.int32)
        values = (noise * (3.0 if attacked else 1.0) + predicted[:, None]).astype(np.float32)
        fields = {
            "activations": {"early": values[:, :3], "deep": values[:, 3:]},
            "predicted": predicted,
            "event_time_ns": START_HOUR * HOUR_NS + number * (HOUR_NS // self.hour_rows),
            "request_ids": [f"r{n}" for n in number],
            "input_refs": [f"s3://inputs/{n}" if n % 2 else None for n in number],
            "source": "/services/test",
            "event_id": f"e{first}",
            "time": "2024-05-01T00:00:00Z",
            "model": self.model,
            "version": self.version,
        }
        return ActivationBatch(**(fields | changes))

    def decoded(self, first: int, rows: int, **changes: Any) -> ActivationBatch:
        """The same, as a worker gets it."""
        return decode(*self.message(first, rows, **changes)[1:])

    def message(self, first: int, rows: int, **changes: Any) -> Message:
        """The same, encoded."""
        return encode(self.batch(first, rows, **changes))

    def incoming(self, offset: int, first: int, rows: int, **changes: Any) -> Incoming:
        """The same, as Kafka gives it; on partition 0 unless ``partition`` says otherwise."""
        partition = changes.pop("partition", 0)
        key, value, headers = self.message(first, rows, **changes)
        return Incoming(partition, offset, key, value, headers)


def fit(seed: int) -> Baseline:
    """A small baseline; another seed gives another one."""
    rng = np.random.default_rng([2, seed])
    predicted = np.arange(400) % CLASSES
    values = rng.standard_normal((400, 9)) + predicted[:, None]
    return Baseline.fit(
        {"early": values[:, :3], "deep": values[:, 3:]},
        predicted,
        model="signs",
        version="1",
        seed=seed,
        longest_window=128,
        random_features=64,
        simulated_requests=40_000,
    )


@pytest.fixture(scope="session")
def requests() -> Requests:
    """Traffic of 100 requests an hour."""
    return Requests()


@pytest.fixture(scope="session")
def baseline() -> Baseline:
    """The baseline of the traffic."""
    return fit(1)


@pytest.fixture(scope="session")
def other_baseline() -> Baseline:
    """Another baseline of the same model."""
    return fit(2)


@pytest.fixture(scope="session")
def policy() -> Policy:
    """Alerts resolve after 96 calm requests; hours wait five minutes."""
    return Policy(average_run_length=100_000, resolve_after_requests=96)


@pytest.fixture
def lane(baseline: Baseline, policy: Policy) -> Lane:
    """A lane of signs/1 on partition 0 that has taken nothing."""
    return Lane(LaneKey("signs", "1", 0), baseline, policy)


@pytest.fixture
def lane_without_baseline(policy: Policy) -> Lane:
    """The same, without a baseline."""
    return Lane(LaneKey("signs", "1", 0), None, policy)


@pytest.fixture
def baselines_folder(baseline: Baseline, tmp_path: Any) -> str:
    """Folder with the baseline of signs/1."""
    baseline.save(baseline_url(str(tmp_path), "signs", "1"))
    return str(tmp_path)


@pytest.fixture
def make_processor(baselines_folder: str, policy: Policy) -> Callable[[], Processor]:
    """Processors that find the baseline of signs/1, in the year 2025."""

    def make() -> Processor:
        return Processor(
            Settings().topics(),
            BaselineStore(baselines_folder, lambda: 0.0, average_run_length=100_000).find,
            policy,
            limits=Limits(),
            newest_ns=lambda: 1_750_000_000 * 10**9,
        )

    return make


@dataclass(frozen=True)
class Traffic:
    """Messages numbered from 0, each drawn by itself: any rows, times and strength of attack."""

    model: str = "signs"
    version: str = "1"
    hour: int = 480_000

    @property
    def start_ns(self) -> int:
        """Start of the first hour, nanoseconds since 1970."""
        return self.hour * HOUR_NS

    def draw(self, rows: int, rng: np.random.Generator, scale: float = 1.0) -> dict[str, Any]:
        """Fields of requests; `scale` above one puts the deep layer off the manifold."""
        scales = {"early": 1.0, "deep": scale}
        activations = {
            name: (scales[name] * rng.standard_normal((rows, width))).astype(np.float32)
            for name, width in LAYERS.items()
        }
        return {
            "activations": activations,
            "predicted": rng.integers(0, CLASSES, rows).astype(np.int32),
        }

    # Properties beside the fixtures: property tests print their arguments when they fail, and a
    # baseline takes pages.
    @cached_property
    def baseline(self) -> Baseline:
        """A baseline whose longest window is two blocks; fitted in half a second."""
        return self.fit(seed=1)

    @cached_property
    def other_baseline(self) -> Baseline:
        """The same model fitted again: another baseline, of another SHA-256."""
        return self.fit(seed=2)

    def fit(self, seed: int) -> Baseline:
        """Fit a baseline on fresh rows."""
        return Baseline.fit(
            **self.draw(600, np.random.default_rng([1, seed])),
            model=self.model,
            version=self.version,
            seed=seed,
            longest_window=64,
            random_features=32,
            simulated_requests=20_000,
        )

    def message(
        self,
        number: int,
        rows: int = 16,
        *,
        scale: float = 1.0,
        times_ns: Sequence[int] | None = None,
        **changes: Any,
    ) -> Message:
        """Message of a service; by default a minute after the one before, a second a row."""
        if times_ns is None:
            first = self.start_ns + number * 60 * 10**9
            times_ns = [first + row * 10**9 for row in range(rows)]
        fields: dict[str, Any] = {
            "model": self.model,
            "version": self.version,
            "event_time_ns": np.array(times_ns, dtype=np.int64),
            "request_ids": [f"{number}-{row}" for row in range(rows)],
            "input_refs": [None, *["file:///sign.png"] * (rows - 1)],
            "source": "/services/signs",
            "event_id": f"event-{number}",
            "time": "2024-10-04T00:00:00Z",
            **self.draw(rows, np.random.default_rng([2, number]), scale),
        }
        return encode(ActivationBatch(**(fields | changes)))

    def batch(self, number: int, rows: int = 16, **options: Any) -> ActivationBatch:
        """The same message, decoded."""
        message = self.message(number, rows, **options)
        return decode(message.value, message.headers, key=message.key)

    def block(self, baseline: Baseline, number: int, rows: int = 32, **options: Any) -> Block:
        """The rows of a message, featurised; its number is its offset."""
        batch = self.batch(number, rows, **options)
        who = BlockRequests(
            tuple(batch.request_ids),
            batch.event_time_ns.astype(np.int64),
            np.full(rows, number, dtype=np.int64),
            tuple(batch.input_refs or ()),
            partition=3,
        )
        checked = baseline.rows(batch.activations, batch.predicted)
        features = baseline.features(*checked)
        return Block(features, who, baseline.sketch(features, who))

    def decision(self, baseline: Baseline, number: int, scale: float) -> Decision:
        """Decision on a window of 32 requests, at a run length of 100,000."""
        block = self.block(baseline, number, scale=scale)
        sketch = baseline.sketch(block.features, block.requests)
        return decide(sketch, baseline, threshold=baseline.threshold(100_000))


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    """Messages of a small model, with baselines of their own."""
    return Traffic()
