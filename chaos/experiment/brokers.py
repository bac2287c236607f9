"""The broker that an experiment may break: its own, or one that the experiments of a run share.

Chaos does not know how to start a Kafka. It names what does by its import path, as it names the
classifier; the default is the broker of `latentwatch.lab`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from latentwatch.chaos.traffic.named import called

__all__ = ["DISPOSABLE_BROKER", "Broker", "disposable_broker"]

DISPOSABLE_BROKER = "latentwatch.lab.brokers:KafkaBroker"
"""Starts a real single-node Kafka and removes its data afterwards."""


class Broker(Protocol):
    """A broker that runs inside a ``with`` block, and can be killed and started again."""

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients; the same after a restart."""

    def kill(self) -> None:
        """End it without a chance to clean up, as a power cut does."""

    def restart(self) -> None:
        """Start it again with its data."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def disposable_broker(progress: Callable[[str], None] | None = None) -> Broker:
    """Return a broker of one's own, not yet started."""
    made: Broker = called(DISPOSABLE_BROKER)(progress=progress)
    return made
