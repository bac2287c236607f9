"""The bounded buffer between inference and the broker, and its counters."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

from latentwatch.producers._rows import Rows, join


@dataclass(frozen=True, slots=True)
class Counters:
    """How many rows and messages were published, by outcome; a consistent snapshot.

    Rows balance at any time:
    ``published == sent + dropped + failed + sampled_out + queued``.

    ====================  =======================================================================
    field                 counts
    ====================  =======================================================================
    ``published``         rows given to ``publish``
    ``sent``              rows in messages that the broker acknowledged
    ``dropped``           rows refused by a full buffer or a closed publisher, or left in the
                          buffer by ``close``
    ``failed``            rows with wrong arguments or without finite values, and rows in messages
                          that the broker refused or did not acknowledge in time
    ``sampled_out``       rows left out by the sampling rate
    ``queued``            rows waiting, in the buffer or for the broker's answer
    ``messages_sent``     messages that the broker acknowledged
    ``messages_failed``   messages given up
    ====================  =======================================================================
    """

    published: int = 0
    sent: int = 0
    dropped: int = 0
    failed: int = 0
    sampled_out: int = 0
    queued: int = 0
    messages_sent: int = 0
    messages_failed: int = 0


class RowBuffer:
    """A thread-safe queue of at most `capacity` rows, with the counters.

    Rows count against the capacity until the broker has acknowledged or refused them, so memory is
    bounded however slow the broker is.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._chunks: deque[Rows] = deque()
        self._waiting = 0
        self._closed = False
        self._counters = Counters()
        self._lock = threading.Lock()

    @property
    def counters(self) -> Counters:
        """A consistent snapshot of all counters."""
        return self._counters

    @property
    def waiting(self) -> int:
        """Rows that are not in a message yet."""
        return self._waiting

    def add(self, chunks: list[Rows], *, sampled_out: int = 0) -> bool:
        """Add the chunks of one call, all or none; False if they do not fit."""
        rows = sum(map(len, chunks))
        with self._lock:
            fits = not self._closed and self._counters.queued + rows <= self._capacity
            self._count(
                published=rows + sampled_out,
                sampled_out=sampled_out,
                queued=rows if fits else 0,
                dropped=0 if fits else rows,
            )
            if fits:
                self._chunks.extend(chunk for chunk in chunks if len(chunk))
                self._waiting += rows
        return fits

    def refuse(self, rows: int) -> None:
        """Count rows as failed that were never queued."""
        with self._lock:
            self._count(published=rows, failed=rows)

    def take(self, max_rows: int, max_values: int) -> Rows | None:
        """Remove and return the oldest rows that fit into one message; None if the queue is empty.

        Parameters
        ----------
        max_rows : int
            Most rows in a message.
        max_values : int
            Most activation values in a message; one row is taken even if it has more.
        """
        with self._lock:
            if not self._chunks:
                return None
            room = max(1, min(max_rows, max_values // self._chunks[0].width))
            parts = self._pop_matching(room)
            self._waiting -= sum(map(len, parts))
        return join(parts)

    def settle(self, rows: int, *, sent: bool) -> None:
        """Count the rows of a message as sent, or as failed."""
        with self._lock:
            self._count(
                queued=-rows,
                sent=rows if sent else 0,
                failed=0 if sent else rows,
                messages_sent=int(sent),
                messages_failed=int(not sent),
            )

    def fail(self, rows: int) -> None:
        """Count queued rows as failed while the rest of their message is sent."""
        with self._lock:
            self._count(queued=-rows, failed=rows)

    def close(self) -> None:
        """Refuse all further rows; count them as dropped."""
        with self._lock:
            self._closed = True

    def discard(self) -> None:
        """Drop all rows that are still queued."""
        with self._lock:
            self._count(queued=-self._waiting, dropped=self._waiting)
            self._chunks.clear()
            self._waiting = 0

    def _pop_matching(self, room: int) -> list[Rows]:
        parts: list[Rows] = []
        ids: set[str] = set()
        while self._chunks and room:
            chunk = self._chunks[0]
            head = chunk if len(chunk) <= room else chunk.cut(0, room)
            if parts and not (
                chunk.signature == parts[0].signature and ids.isdisjoint(head.request_ids)
            ):
                break
            self._chunks.popleft()
            if head is not chunk:
                self._chunks.appendleft(chunk.cut(room, len(chunk)))
            parts.append(head)
            ids.update(head.request_ids)
            room -= len(head)
        return parts

    def _count(self, **changes: int) -> None:
        changed = {name: getattr(self._counters, name) + step for name, step in changes.items()}
        self._counters = replace(self._counters, **changed)
