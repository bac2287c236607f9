"""Queries of the history, for the pages and the JSON API."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from latentwatch.stream.core.events import AlertEvent, FlaggedRequest, RateRow
from latentwatch.stream.dashboard.records import LetterSummary
from latentwatch.stream.dashboard.schema import open_for_reading

__all__ = ["History"]

MOST_POINTS = 2000
"""Samples of a series in one response: more than a screen has columns."""


class History:
    """Reads a history file. Each query has its own connection, so threads share nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def models(self) -> list[dict[str, Any]]:
        """Each model version with its latest hour and its numbers of firing and past alerts."""
        with self._reading() as connection:
            names = connection.execute(
                "SELECT model, version, max(hour) AS hour FROM rate GROUP BY model, version "
                "UNION SELECT model, version, NULL FROM alert WHERE NOT EXISTS (SELECT 1 FROM rate"
                " WHERE rate.model = alert.model AND rate.version = alert.version)"
                "ORDER BY model, version"
            )
            return [self._model(connection, **dict(row)) for row in names.fetchall()]

    def _model(
        self, connection: sqlite3.Connection, model: str, version: str, hour: str | None
    ) -> dict[str, Any]:
        counts = connection.execute(
            "SELECT count(*), coalesce(sum(status = 'firing'), 0) FROM alert "
            "WHERE (model, version) = (?, ?)",
            (model, version),
        ).fetchone()
        newest = self._rates(connection, model, version, hour) if hour else []
        return {
            "model": model,
            "version": version,
            "alerts": counts[0],
            "firing": counts[1],
            "newest_hour": newest[0] if newest else None,
        }

    def hours(self, model: str, version: str, most: int) -> list[RateRow]:
        """Rows of the latest hours of a model version, one per layer, oldest hour first."""
        with self._reading() as connection:
            first = connection.execute(
                "SELECT DISTINCT hour FROM rate WHERE (model, version) = (?, ?) "
                "ORDER BY hour DESC LIMIT 1 OFFSET ?",
                (model, version, most),
            ).fetchone()
            return self._rates(connection, model, version, after=first["hour"] if first else "")

    def _rates(
        self,
        connection: sqlite3.Connection,
        model: str,
        version: str,
        hour: str | None = None,
        after: str = "",
    ) -> list[RateRow]:
        rows = connection.execute(
            "SELECT data FROM rate WHERE (model, version) = (?, ?) AND hour > ? "
            "AND (? IS NULL OR hour = ?) ORDER BY hour, layer",
            (model, version, after, hour, hour),
        )
        return [RateRow.from_json(_event(row)) for row in rows]

    def alerts(
        self,
        model: str | None = None,
        version: str | None = None,
        status: str | None = None,
        before: str | None = None,
        most: int = 100,
    ) -> list[AlertEvent]:
        """Alerts, latest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT data FROM alert WHERE (:model IS NULL OR model = :model) "
                "AND (:version IS NULL OR version = :version) "
                "AND (:status IS NULL OR status = :status) "
                "AND (:before IS NULL OR fired_at < :before) "
                "ORDER BY fired_at DESC, id LIMIT :most",
                {"model": model, "version": version, "status": status, "before": before,
                 "most": most},
            )  # fmt: skip
            return [_alert(row) for row in rows]

    def alert(self, beginning: str) -> AlertEvent | None:
        """The alert with this id, or the only one whose id starts with it."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT data FROM alert WHERE substr(id, 1, ?) = ? LIMIT 2",
                (len(beginning), beginning),
            ).fetchall()
        return _alert(rows[0]) if len(rows) == 1 else None

    def steps(self, alert_id: str) -> list[dict[str, Any]]:
        """Published states of an alert, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT last_seen_at, status, severity, score, threshold, contamination "
                "FROM alert_step WHERE id = ? ORDER BY last_seen_at, status",
                (alert_id,),
            )
            return [dict(row) for row in rows]

    def flagged(
        self, model: str, version: str, hour: str | None, most: int
    ) -> list[tuple[int, FlaggedRequest]]:
        """Flagged requests with their numbers, least typical first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT number, data FROM flagged WHERE (model, version) = (?, ?) "
                "AND (? IS NULL OR hour = ?) ORDER BY p_value, energy DESC LIMIT ?",
                (model, version, hour, hour, most),
            )
            return [(row["number"], FlaggedRequest.from_json(_event(row))) for row in rows]

    def flagged_request(self, number: int) -> FlaggedRequest | None:
        """The flagged request with a number."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT data FROM flagged WHERE number = ?", (number,)
            ).fetchone()
        return FlaggedRequest.from_json(_event(row)) if row else None

    def samples(
        self, model: str, version: str, since: float, until: float
    ) -> dict[str, list[dict[str, Any]]]:
        """Samples by layer, in order of event time; the empty layer stands for whole windows."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT at, partition, layer, T, E, score, threshold FROM sample "
                "WHERE (model, version) = (?, ?) AND at BETWEEN ? AND ? ORDER BY at",
                (model, version, since, until),
            ).fetchall()
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            values = dict(row)
            found.setdefault(values.pop("layer"), []).append(values)
        return {layer: _thinned(points) for layer, points in found.items()}

    def lags(self, since: float) -> list[tuple[float, int]]:
        """Times and lags, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT at, messages FROM lag WHERE at >= ? ORDER BY at", (since,)
            ).fetchall()
        return [(row["at"], row["messages"]) for row in rows]

    def letters(self, most: int) -> tuple[list[dict[str, Any]], list[LetterSummary]]:
        """Numbers of dead letters by reason, and the latest ones."""
        with self._reading() as connection:
            counts = connection.execute("SELECT * FROM letter_count ORDER BY count DESC, reason")
            newest = connection.execute(
                "SELECT data FROM letter ORDER BY number DESC LIMIT ?", (most,)
            )
            return [dict(row) for row in counts], [
                LetterSummary.model_validate_json(row["data"]) for row in newest
            ]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        connection = open_for_reading(self._path)
        try:
            yield connection
        finally:
            connection.close()


def _event(row: sqlite3.Row, **defaults: Any) -> dict[str, Any]:
    return {"data": {**defaults, **orjson.loads(row["data"])}}


def _alert(row: sqlite3.Row) -> AlertEvent:
    # histories of earlier versions lack this member, which the API does not show
    return AlertEvent.from_json(_event(row, fired_at_offset=0))


def _thinned(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most about `MOST_POINTS`: the highest score of each run of neighbours."""
    stride = -(-len(points) // MOST_POINTS)
    groups = (points[i : i + stride] for i in range(0, len(points), stride or 1))
    return [max(group, key=lambda point: point["score"]) for group in groups]
