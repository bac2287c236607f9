"""What the JSON API answers, for its OpenAPI description."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from latentwatch.stream.dashboard.records import Alert, DeadLetter, Flagged, Rate

__all__ = [
    "AlertAnswer",
    "FlaggedAnswer",
    "LetterCount",
    "LettersAnswer",
    "Model",
    "Point",
    "SamplesAnswer",
    "StatusAnswer",
    "Step",
    "WorkerAnswer",
    "WorkersAnswer",
]


class Model(BaseModel):
    """A model version that anything was published of."""

    model: str
    version: str
    alerts: int
    firing: int
    newest_hour: Rate | None


class Step(BaseModel):
    """One published state of an alert."""

    last_seen_at: str
    status: str
    severity: str
    score: float
    threshold: float
    contamination: float | None


class AlertAnswer(BaseModel):
    """An alert, how it went, and what to do about it."""

    alert: Alert
    steps: list[Step]
    commands: dict[str, str]
    pictures: bool
    """Whether pictures behind input references may be asked for."""


class FlaggedAnswer(BaseModel):
    """A flagged request; its number names its picture."""

    number: int
    request: Flagged


class Point(BaseModel):
    """What a window said, at its event time in seconds since 1970."""

    at: float
    partition: int
    T: float | None
    E: float | None
    score: float
    threshold: float | None


class SamplesAnswer(BaseModel):
    """Samples by layer; the empty name stands for whole windows."""

    layers: dict[str, list[Point]]


class LetterCount(BaseModel):
    """Dead letters of one reason."""

    reason: str
    count: int
    newest: float


class LettersAnswer(BaseModel):
    """Dead letters: how many by reason, and the newest."""

    counts: list[LetterCount]
    examples: list[DeadLetter]


class WorkerAnswer(BaseModel):
    """How a worker is."""

    url: str
    state: Literal["unknown", "ready", "not ready", "stuck", "away"]
    reason: str
    asked_at: float
    version: str
    lag: int
    partitions: list[int]
    waiting_seconds: float
    rows: int
    dead_letters: int


class WorkersAnswer(BaseModel):
    """Workers that are asked, and the lag as Kafka has it."""

    workers: list[WorkerAnswer]
    group: str
    lag: int | None
    trouble: str
    lags: list[tuple[float, int]]


class StatusAnswer(BaseModel):
    """Where the dashboard itself stands."""

    version: str
    servers: str
    user: str
    ready: bool
    reason: str
    missing_topics: list[str]
    behind: int | None
    topics: dict[str, str]
    passed_over: int
    can_log_out: bool
    workers_asked: int
