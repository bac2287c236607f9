"""Output records into files: one CloudEvent a line, in the order in which a worker would send."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.topic_names import Topics

__all__ = ["OutputFiles"]

ROLES = {
    "alerts": "alerts.jsonl",
    "detection_rates": "detection-rates.jsonl",
    "flagged_requests": "flagged-requests.jsonl",
}


class OutputFiles:
    """A file for each output topic.

    Parameters
    ----------
    folder : Path or None
        None writes nothing.
    topics : Topics
    force : bool
        Whether to replace files that are there.

    Raises
    ------
    RecordingError
        There are such files, and `force` is not set.
    """

    def __init__(self, folder: Path | None, topics: Topics, *, force: bool) -> None:
        self._paths = {}
        if folder is not None:
            self._paths = {getattr(topics, role): folder / name for role, name in ROLES.items()}
        there = [path for path in self._paths.values() if path.exists()]
        if there and not force:
            raise RecordingError(f"{there[0]} is there already; --force replaces it")
        self._files: dict[str, IO[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for topic, path in self._paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[topic] = self._stack.enter_context(path.open("wb"))
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def write(self, record: Record) -> None:
        """Append a record to the file of its topic, if it has one."""
        if record.topic in self._files:
            self._files[record.topic].write((record.value or b"") + b"\n")
