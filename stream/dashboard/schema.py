"""The tables of the history, and connections to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from latentwatch.stream.dashboard.options import DashboardError

__all__ = ["open_for_reading", "open_for_writing"]

VERSION = 1
"""Version of the tables; a history of any other version is refused."""

APPLICATION = 0x4C57_4442
"""Distinguishes our files from other databases."""

TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE place (
    topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE alert (
    id TEXT PRIMARY KEY, model TEXT, version TEXT, status TEXT, severity TEXT, fired_at TEXT,
    last_seen_at TEXT, published REAL, data TEXT NOT NULL
);
CREATE INDEX alert_by_time ON alert (fired_at);
CREATE TABLE alert_step (
    id TEXT, last_seen_at TEXT, status TEXT, severity TEXT, score REAL, threshold REAL,
    contamination REAL, PRIMARY KEY (id, last_seen_at, status)
) WITHOUT ROWID;
CREATE TABLE rate (
    model TEXT, version TEXT, hour TEXT, layer TEXT, revision INTEGER, published REAL,
    data TEXT NOT NULL, PRIMARY KEY (model, version, hour, layer)
) WITHOUT ROWID;
CREATE TABLE flagged (
    number INTEGER PRIMARY KEY, model TEXT, version TEXT, hour TEXT, request_id TEXT,
    partition INTEGER, offset INTEGER, p_value REAL, energy REAL, published REAL,
    data TEXT NOT NULL, UNIQUE (model, version, request_id, partition, offset)
);
CREATE INDEX flagged_by_hour ON flagged (model, version, hour, p_value, energy);
CREATE TABLE letter (
    number INTEGER PRIMARY KEY, place TEXT UNIQUE, reason TEXT, published REAL, data TEXT NOT NULL
);
CREATE TABLE letter_count (reason TEXT PRIMARY KEY, count INTEGER, newest REAL) WITHOUT ROWID;
CREATE TABLE sample (
    number INTEGER PRIMARY KEY, at REAL, model TEXT, version TEXT, partition INTEGER, layer TEXT,
    T REAL, E REAL, score REAL, threshold REAL
);
CREATE INDEX sample_by_time ON sample (model, version, at);
CREATE TABLE lag (at REAL PRIMARY KEY, messages INTEGER NOT NULL);
"""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The only connection that writes; creates the file and its tables if necessary.

    Raises
    ------
    DashboardError
        If the file is not a history, or has another version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise DashboardError(
            f"the history {path} cannot be opened ({error}): name another file with --history"
        ) from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise DashboardError(
            f"{path} is not a dashboard's history ({error}): name another file with --history"
        ) from error
    except DashboardError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    ours, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    )
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and (ours != APPLICATION or version != VERSION):
        what = f"has version {version}" if ours == APPLICATION else "is another program's file"
        raise DashboardError(
            f"the history {path} {what}, but this dashboard writes version {VERSION}: name "
            "another file with --history; the records that Kafka still has are read again"
        )
    # readers do not wait for the writer; records lost in a power cut are read from Kafka again
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if not tables:
        connection.executescript(
            f"BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; "
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A read-only connection whose rows are addressed by column name."""
    place = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(place, uri=True, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection
