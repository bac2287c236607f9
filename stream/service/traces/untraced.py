"""Hooks around the batches of a worker; the default does nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from latentwatch.stream.core.events import Record
from latentwatch.stream.core.processor import Incoming

__all__ = ["BatchTrace", "Traces"]


class BatchTrace:
    """What happens to one batch of messages."""

    def deciding(self) -> AbstractContextManager[object]:
        """Around the mathematics."""
        return nullcontext()

    @contextmanager
    def flushing(self, records: list[Record]) -> Iterator[list[Record]]:
        """Around the writing of records; gives what is to be written."""
        yield records


class Traces:
    """Called for every batch, and ignores it; `WorkerTraces` makes spans."""

    @contextmanager
    def batch(self, messages: Sequence[Incoming]) -> Iterator[BatchTrace]:
        """Around everything that is done with a batch of messages."""
        yield BatchTrace()

    def close(self) -> None:
        """Export what is left; may take a few seconds."""
