"""Responses of the JSON API, as its OpenAPI description shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from latentwatch.stream.core.events import AlertEvent, FlaggedRequest, RateRow
from latentwatch.stream.dashboard.records import LetterSummary

__all__ = [
    "AlertResponse",
    "FlaggedResponse",
    "LetterCount",
    "LettersResponse",
    "Model",
    "Point",
    "SamplesResponse",
    "StatusResponse",
    "Step",
    "WorkerResponse",
    "WorkersResponse",
]


class Model(BaseModel):
    """A model version that something was published about."""

    model: str
    version: str
    alerts: int
    firing: int
    newest_hour: RateRow | None


class Step(BaseModel):
    """One published state of an alert."""

    last_seen_at: str
    status: str
    severity: str
    score: float
    threshold: float
    contamination: float | None


class AlertResponse(BaseModel):
    """An alert, its course, and commands to investigate it."""

    alert: AlertEvent
    steps: list[Step]
    commands: dict[str, str]
    pictures: bool
    """Whether pictures behind input references can be loaded."""


class FlaggedResponse(BaseModel):
    """A flagged request; its number identifies its picture."""

    number: int
    request: FlaggedRequest


class Point(BaseModel):
    """A sample of a window, at its event time in seconds since 1970."""

    at: float
    partition: int
    T: float | None
    E: float | None
    score: float
    threshold: float | None


class SamplesResponse(BaseModel):
    """Samples by layer; the empty layer stands for whole windows."""

    layers: dict[str, list[Point]]


class LetterCount(BaseModel):
    """Number of dead letters with one reason."""

    reason: str
    count: int
    newest: float


class LettersResponse(BaseModel):
    """Dead letters: counts by reason, and the latest ones."""

    counts: list[LetterCount]
    examples: list[LetterSummary]


class WorkerResponse(BaseModel):
    """State of a worker."""

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


class WorkersResponse(BaseModel):
    """Workers that are polled, and the lag according to Kafka."""

    workers: list[WorkerResponse]
    group: str
    lag: int | None
    trouble: str
    lags: list[tuple[float, int]]


class StatusResponse(BaseModel):
    """State of the dashboard itself."""

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
