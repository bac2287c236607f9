"""Writes the history: records and the offsets after them, in one transaction.

A process that is killed therefore continues exactly where its history ends, and counts nothing
twice.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import orjson

from latentwatch.stream.core.events import AlertEvent, FlaggedRequest, RateRow
from latentwatch.stream.dashboard.options import DashboardError
from latentwatch.stream.dashboard.records import Event, LetterSummary, Parsed
from latentwatch.stream.dashboard.schema import open_for_writing

__all__ = ["MOST_LETTERS", "Place", "Sample", "Store"]

MOST_LETTERS = 200
"""Dead letters kept as examples; all of them are counted."""

MOST_FLAGGED = 200_000
MOST_SAMPLES = 500_000
MOST_LAGS = 20_000


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Sample(NamedTuple):
    """The latest window of a lane, as a worker reported it when polled.

    ``at`` is its event time in seconds since 1970. ``layer`` is empty for the whole window, and
    only the whole window has a threshold.
    """

    at: float
    model: str
    version: str
    partition: int
    layer: str
    T: float | None
    E: float | None
    score: float
    threshold: float | None


class Store:
    """The only writer of a history file.

    Parameters
    ----------
    path : Path
    topics : iterable of str
        Names of the topics that it belongs to; a history of other topics is refused.
    keep_days : float

    Raises
    ------
    DashboardError
        If another dashboard is writing to the file, or it belongs to other topics.
    """

    def __init__(self, path: Path, topics: Iterable[str], keep_days: float) -> None:
        self.path, self._keep_seconds = path, keep_days * 86_400
        self._lock = threading.Lock()
        self._connection = open_for_writing(path)
        try:
            self._guard = _only_writer(path)
            self._about(" ".join(sorted(topics)))
        except DashboardError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._guard.close()

    def places(self) -> dict[Place, int]:
        """Next offset to read, for each partition that has been read before."""
        with self._lock:
            rows = self._connection.execute("SELECT topic, partition, next_offset FROM place")
            return {Place(topic, partition): offset for topic, partition, offset in rows}

    def take(self, parsed: Iterable[Parsed], places: Mapping[Place, int]) -> None:
        """Store the content of records, and the offsets after them."""
        with self._transaction() as connection:
            for content, published in parsed:
                _PUT[type(content)](connection, content, published)
            connection.executemany(
                "REPLACE INTO place VALUES (?, ?, ?)",
                [(*place, offset) for place, offset in places.items()],
            )

    def take_samples(self, samples: Iterable[Sample]) -> None:
        """Store samples of the workers' latest windows."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO sample (at, model, version, partition, layer, T, E, score, threshold)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                samples,
            )

    def take_lag(self, at: float, messages: int) -> None:
        """Store the lag at a time."""
        with self._transaction() as connection:
            connection.execute("REPLACE INTO lag VALUES (?, ?)", (at, messages))

    def forget(self, now: float) -> None:
        """Delete what is too old, or more than the limits allow.

        Parameters
        ----------
        now : float
            Seconds since 1970. Age counts from publication, because event times may come from a
            replay.
        """
        oldest = now - self._keep_seconds
        with self._transaction() as connection:
            for table in ("alert", "rate", "flagged", "letter"):
                # a firing alert is current, however old it is
                kept = " AND status != 'firing'" if table == "alert" else ""
                connection.execute(f"DELETE FROM {table} WHERE published < ?{kept}", (oldest,))
            connection.execute("DELETE FROM alert_step WHERE id NOT IN (SELECT id FROM alert)")
            for table, most in (
                ("flagged", MOST_FLAGGED),
                ("letter", MOST_LETTERS),
                ("sample", MOST_SAMPLES),
            ):
                connection.execute(
                    f"DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?",
                    (most,),
                )
            connection.execute(
                "DELETE FROM lag WHERE at < ? OR at <= "
                "(SELECT at FROM lag ORDER BY at DESC LIMIT 1 OFFSET ?)",
                (oldest, MOST_LAGS),
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _about(self, topics: str) -> None:
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO about VALUES ('topics', ?)", (topics,))
            (found,) = connection.execute("SELECT value FROM about").fetchone()
        if found != topics:
            self._guard.close()
            raise DashboardError(
                f"the history {self.path} belongs to the topics {found}, but the settings name "
                f"{topics}: name another file with --history, or correct topic_prefix"
            )


def _only_writer(path: Path) -> IO[str]:
    """A lock that is released when the process ends."""
    guard = Path(f"{path}.lock").open("w")  # noqa: SIM115 - it stays open as long as the store
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        guard.close()
        raise DashboardError(
            f"another dashboard is writing to {path}: stop it, or name another file with --history"
        ) from error
    return guard


def _json(event: Event) -> str:
    return orjson.dumps(event.data()).decode()


def _put_alert(connection: sqlite3.Connection, alert: AlertEvent, published: float) -> None:
    step = (alert.id, alert.last_seen_at, alert.status, alert.severity, alert.score)
    connection.execute(
        "REPLACE INTO alert_step VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*step, alert.threshold, alert.contamination),
    )
    # a worker that restarts may publish older states again; of two states at one time, the
    # resolved one is later
    connection.execute(
        "INSERT INTO alert VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
        "status = excluded.status, severity = excluded.severity, "
        "last_seen_at = excluded.last_seen_at, published = excluded.published, "
        "data = excluded.data "
        "WHERE (excluded.last_seen_at, excluded.status) >= (last_seen_at, status)",
        (alert.id, alert.model, alert.version, alert.status, alert.severity, alert.fired_at,
         alert.last_seen_at, published, _json(alert)),
    )  # fmt: skip


def _put_rate(connection: sqlite3.Connection, rate: RateRow, published: float) -> None:
    hour = (rate.model, rate.version, rate.hour)
    if rate.status == "ok":
        # an hour without a baseline has one row without a layer, which a row with one replaces
        connection.execute(
            "DELETE FROM rate WHERE (model, version, hour) = (?, ?, ?) AND layer = ''", hour
        )
    connection.execute(
        "INSERT INTO rate VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (model, version, hour, layer) DO UPDATE SET revision = excluded.revision, "
        "published = excluded.published, data = excluded.data "
        "WHERE excluded.revision >= revision",
        (*hour, rate.layer, rate.revision, published, _json(rate)),
    )


def _put_flagged(connection: sqlite3.Connection, found: FlaggedRequest, published: float) -> None:
    place = (found.model, found.version, found.request_id, found.partition, found.offset)
    if found.status == "withdrawn":
        connection.execute(
            "DELETE FROM flagged WHERE (model, version, request_id, partition, offset)"
            " = (?, ?, ?, ?, ?)",
            place,
        )
        return
    connection.execute(
        "REPLACE INTO flagged (model, version, request_id, partition, offset, hour, p_value,"
        " energy, published, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*place, found.hour, found.p_value, found.energy, published, _json(found)),
    )


def _put_letter(connection: sqlite3.Connection, letter: LetterSummary, published: float) -> None:
    row = (letter.place, letter.reason, published, letter.model_dump_json())
    added = connection.execute(
        "INSERT OR IGNORE INTO letter (place, reason, published, data) VALUES (?, ?, ?, ?)", row
    )
    if not added.rowcount:
        return  # a duplicate
    connection.execute(
        "INSERT INTO letter_count VALUES (?, 1, ?) ON CONFLICT (reason) DO UPDATE SET "
        "count = count + 1, newest = max(newest, excluded.newest)",
        (letter.reason, published),
    )


_PUT: dict[type, Callable[[sqlite3.Connection, Any, float], None]] = {
    AlertEvent: _put_alert,
    RateRow: _put_rate,
    FlaggedRequest: _put_flagged,
    LetterSummary: _put_letter,
}
