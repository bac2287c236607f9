"""The settings of a demo."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latentwatch.stream.core.times import HOUR_NS

__all__ = ["MODEL", "VERSION", "DemoPlan"]

MODEL, VERSION = "traffic-signs", "1"


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The options of ``latentwatch demo``.

    Parameters
    ----------
    out : Path
        Folder of the results.
    cache : Path
        Folder of trained networks.
    broker : "auto", "kafka" or "mock"
    share, eps : float
        Adversarial share of the attacked hour, and the largest change of a pixel.
    hours, requests_per_hour : int
        The hour before the last is attacked; in the last one the attack fades.
    seed : int
    training_images, epochs, validation_images : int
        Size of the network's training and of the baseline.
    dashboard : bool
        Whether to show the dashboard in a browser.
    """

    out: Path
    cache: Path
    broker: Literal["auto", "kafka", "mock"]
    share: float
    eps: float
    hours: int
    requests_per_hour: int
    seed: int
    training_images: int
    epochs: int
    validation_images: int
    dashboard: bool = True

    @property
    def requests(self) -> int:
        """Total number of requests."""
        return self.hours * self.requests_per_hour

    def start_ns(self) -> int:
        """Start of the first hour, chosen so that the last one is over now."""
        return (time.time_ns() // HOUR_NS - self.hours) * HOUR_NS

    def prepare_arguments(self) -> list[str]:
        """Arguments of ``python -m latentwatch.lab.signs`` to get a network and validation rows."""
        return [
            "prepare",
            *self._common(),
            f"--training-images={self.training_images}",
            f"--epochs={self.epochs}",
            f"--validation-images={self.validation_images}",
        ]

    def play_arguments(self, bootstrap_servers: str, topic: str) -> list[str]:
        """Arguments of ``python -m latentwatch.lab.signs`` to play the hours."""
        return [
            "play",
            *self._common(),
            f"--bootstrap-servers={bootstrap_servers}",
            f"--topic={topic}",
            f"--model={MODEL}",
            f"--version={VERSION}",
            f"--share={self.share}",
            f"--eps={self.eps}",
            f"--hours={self.hours}",
            f"--requests-per-hour={self.requests_per_hour}",
            f"--start-time={self.start_ns()}",
        ]

    def _common(self) -> list[str]:
        return [f"--out={self.out}", f"--cache={self.cache}", f"--seed={self.seed}"]
