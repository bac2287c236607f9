"""Write messages to files: pending by partition, flushed when there are many or they are old."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.layout import Flush
from latentwatch.stream.recording.rows import RecordedMessage, tables_of

__all__ = ["RecordingWriter", "Written"]


@dataclass(slots=True)
class Written:
    """Totals of what was written so far."""

    files: int = 0
    rows: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Pending:
    first: int
    next: int
    since: float
    bytes: int = 0
    messages: list[RecordedMessage] = field(default_factory=list)


class RecordingWriter:
    """Writes a recording; no clock of its own.

    Parameters
    ----------
    files : RecordingFiles
    most_bytes : int
        Flush a partition when its pending messages reach this many bytes of activations.
    most_seconds : float
        Flush a partition when its oldest message has waited this long.
    """

    def __init__(self, files: RecordingFiles, *, most_bytes: int, most_seconds: float) -> None:
        self._files = files
        self._most_bytes, self._most_seconds = most_bytes, most_seconds
        self._pending: dict[int, _Pending] = {}
        self.written = Written()

    def add(self, message: RecordedMessage, now: float) -> None:
        """Add a message, and flush its partition if it is full; offsets must increase."""
        pending = self._of(message.partition, message.offset, now)
        pending.messages.append(message)
        pending.next = message.offset + 1
        arrays = message.batch.activations.values()
        pending.bytes += sum(array.nbytes for array in arrays)
        if pending.bytes >= self._most_bytes:
            self.flush(message.partition)

    def pass_over(self, partition: int, offset: int) -> None:
        """Note that the record at an offset is not to be recorded."""
        if partition in self._pending:
            self._pending[partition].next = offset + 1

    def flush_old(self, now: float) -> None:
        """Flush the partitions whose oldest message has waited long enough."""
        for partition, pending in list(self._pending.items()):
            if now - pending.since >= self._most_seconds:
                self.flush(partition)

    def flush_all(self) -> None:
        """Flush everything."""
        for partition in sorted(self._pending):
            self.flush(partition)

    def flush(self, partition: int) -> None:
        """Write what is pending of a partition; when this returns, it is recorded."""
        pending = self._pending.pop(partition, None)
        if pending is None:
            return
        flush = Flush(partition, pending.first, pending.next)
        for place, table in tables_of(flush, pending.messages).items():
            self.written.bytes += self._files.write(place, table)
            self.written.files += 1
            self.written.rows += table.num_rows

    def _of(self, partition: int, offset: int, now: float) -> _Pending:
        if partition not in self._pending:
            self._pending[partition] = _Pending(offset, offset, now)
        return self._pending[partition]
