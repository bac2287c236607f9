"""A stream whose every message follows from a seed, so that the right output is known.

Gaussian classes in two layers, several models and versions on several partitions. Most messages
come in the order of their event times, some within the allowed lateness, some hours late, and some
are poison. In every fourth hour one model is attacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector import Baseline
from latentwatch.producers.wire import ActivationBatch, encode
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.service.baselines import baseline_url
from latentwatch.stream.settings import Settings

__all__ = ["Planned", "SyntheticStream", "fit_baselines"]

PARTITIONS = 4
LANES = (
    ("signs", "1", 0), ("signs", "1", 1), ("signs", "1", 2), ("signs", "2", 0), ("signs", "2", 3),
    ("lights", "1", 1), ("lights", "1", 2), ("lights", "1", 3), ("ghost", "1", 3),
)  # fmt: skip
"""Model, version and partition; ghost has no baseline."""

LAYERS = {"early": 8, "deep": 16}
CLASSES = 3
ROWS = 40
"""Rows of a message: not whole blocks, so that blocks span messages and hours."""

STEPS_PER_HOUR = 12
ALLOWED_LATE_STEPS = 3
LATE_SHARE, VERY_LATE_SHARE, POISON_SHARE = 0.08, 0.02, 0.01
ATTACKED = ("signs", "1")
ATTACK_EVERY_HOURS, ATTACK_STEPS, ATTACKED_ROWS = 4, range(2, 8), 12
START_NS = 1_767_607_200 * 10**9

Layers = dict[str, NDArray[np.float32]]


class Planned(NamedTuple):
    """A message, and the reason why it must be refused; empty for a sound one."""

    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    reason: str


@dataclass(frozen=True)
class SyntheticStream:
    """The stream of a seed; see the module.

    Parameters
    ----------
    seed : int
    start_ns : int
        Event time of the first message, a whole hour, in nanoseconds since 1970.
    """

    seed: int = 0
    start_ns: int = START_NS
    partitions: int = PARTITIONS

    def settings(self, **changes: Any) -> Settings:
        """Settings of workers that suit the stream: alerts resolve and hours close soon."""
        allowed_lateness_seconds = ALLOWED_LATE_STEPS * 3_600 / STEPS_PER_HOUR
        given: dict[str, Any] = {
            "partitions": self.partitions,
            "output_partitions": 2,
            "allowed_lateness_seconds": allowed_lateness_seconds,
            "resolve_after_requests": 256,
            "idle_seconds": 3.0,
            "flush_seconds": 0.2,
            **changes,
        }
        return Settings(**given)

    def steps(self) -> Iterator[list[Planned]]:
        """Yield messages without end, in steps; each step advances event time by minutes."""
        held: dict[int, list[Planned]] = {}
        rng = np.random.default_rng([self.seed, 1])
        number = 0
        while True:
            due = held.pop(number, [])
            for lane in range(len(LANES)):
                message = self._message(number, lane)
                delay = _delay(rng)
                (held.setdefault(number + delay, []) if delay else due).append(message)
                if rng.random() < POISON_SHARE:
                    due.append(_poison(message, int(rng.integers(3))))
            yield due
            number += 1

    def draw(self, rows: int, rng: np.random.Generator, attacked: int = 0) -> tuple[Layers, Any]:
        """Draw rows, the first `attacked` adversarial, and their predicted classes."""
        predicted = rng.integers(0, CLASSES, rows)
        layers = {}
        for name, width in LAYERS.items():
            values = self._means[name][predicted] + rng.standard_normal((rows, width))
            layers[name] = values.astype(np.float32)
        layers["deep"][:attacked] += 2.5 * rng.standard_normal((attacked, LAYERS["deep"]))
        return layers, predicted.astype(np.int32)

    @cached_property
    def _means(self) -> Layers:
        world = np.random.default_rng(5)
        return {
            name: (2.0 * world.standard_normal((CLASSES, width))).astype(np.float32)
            for name, width in LAYERS.items()
        }

    def _message(self, number: int, lane: int) -> Planned:
        model, version, partition = LANES[lane]
        hour, step = divmod(number, STEPS_PER_HOUR)
        is_attacked = (model, version) == ATTACKED and hour % ATTACK_EVERY_HOURS == 1
        attacked = ATTACKED_ROWS if is_attacked and step in ATTACK_STEPS else 0
        layers, predicted = self.draw(
            ROWS, np.random.default_rng([self.seed, number, lane]), attacked
        )
        gap = HOUR_NS // STEPS_PER_HOUR // ROWS
        name = f"{model}-{version}-{partition}-{number}"
        message = encode(
            ActivationBatch(
                model=model,
                version=version,
                activations=layers,
                predicted=predicted,
                event_time_ns=self.start_ns + (number * ROWS + np.arange(ROWS)) * gap,
                request_ids=[f"{name}-{row}" for row in range(ROWS)],
                source="/services/soak",
                event_id=name,
                time="2026-01-05T10:00:00Z",
            )
        )
        return Planned(partition, *message, reason="")


def _delay(rng: np.random.Generator) -> int:
    """Steps by which a message is late: mostly none, else within the allowed lateness or hours."""
    chance = rng.random()
    if chance < VERY_LATE_SHARE:
        return int(rng.integers(STEPS_PER_HOUR, 3 * STEPS_PER_HOUR))
    return int(rng.integers(1, ALLOWED_LATE_STEPS + 1)) if chance < LATE_SHARE else 0


def _poison(message: Planned, kind: int) -> Planned:
    """Make a message that must be refused out of a sound one."""
    if kind == 0:
        return message._replace(value=b"poison", headers=[], reason="not-cloudevent")
    if kind == 1:
        return message._replace(value=message.value[:-7], reason="bad-length")
    return message._replace(key=b"another/1", reason="bad-key")


def fit_baselines(stream: SyntheticStream, folder: Path) -> str:
    """Fit a baseline of each model version but ghost; return the setting ``baselines``."""
    names = sorted({(model, version) for model, version, _ in LANES if model != "ghost"})
    for seed, (model, version) in enumerate(names):
        Baseline.fit(
            *stream.draw(1200, np.random.default_rng([7, seed])),
            model=model,
            version=version,
            seed=seed,
            longest_window=128,
            random_features=128,
            simulated_requests=60_000,
        ).save(baseline_url(str(folder), model, version))
    return str(folder)
