"""The JSON API: everything that the page shows, for programs as well."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from latentwatch import __version__
from latentwatch.stream.dashboard.changes import MOST_LISTENERS
from latentwatch.stream.dashboard.commands import alert_commands
from latentwatch.stream.dashboard.components import Parts
from latentwatch.stream.dashboard.records import Alert, Rate
from latentwatch.stream.dashboard.responses import (
    AlertAnswer,
    FlaggedAnswer,
    LetterCount,
    LettersAnswer,
    Model,
    Point,
    SamplesAnswer,
    StatusAnswer,
    Step,
    WorkerAnswer,
    WorkersAnswer,
)
from latentwatch.stream.dashboard.workers import Worker

__all__ = ["api"]

ModelName = Annotated[str, Query(max_length=1000)]
Version = Annotated[str, Query(max_length=1000)]
Most = Annotated[int, Query(ge=1, le=1000, description="Most of them.")]
T = TypeVar("T")
AlertId = Annotated[str, Path(min_length=4, max_length=64, description="Id, or its beginning.")]


def api(parts: Parts) -> APIRouter:
    """All paths under ``/api``.

    Functions without ``async`` are run in threads: they read the history.
    """
    router = APIRouter(prefix="/api")
    _add_models(router, parts)
    _add_alerts(router, parts)
    _add_pictures(router, parts)
    _add_service(router, parts)
    return router


def _add_models(router: APIRouter, parts: Parts) -> None:
    history = parts.history

    @router.get("/models", tags=["models"])
    def models() -> list[Model]:
        """Model versions, by name."""
        return [Model(**found) for found in history.models()]

    @router.get("/hours", tags=["models"])
    def hours(model: ModelName, version: Version, most: Most = 168) -> list[Rate]:
        """The newest hours, a row for each layer, oldest first."""
        return history.hours(model, version, most)

    @router.get("/flagged", tags=["models"])
    def flagged(
        model: ModelName, version: Version, hour: str | None = None, most: Most = 50
    ) -> list[FlaggedAnswer]:
        """Flagged requests, the least typical first."""
        found = history.flagged(model, version, hour, most)
        return [FlaggedAnswer(number=number, request=request) for number, request in found]

    @router.get("/samples", tags=["models"])
    def samples(
        model: ModelName, version: Version, since: float = 0.0, until: float = 1e12
    ) -> SamplesAnswer:
        """What workers said of their newest windows; empty unless --worker names some.

        Of more than 2,000 of a layer, the highest scores of neighbours.
        """
        found = history.samples(model, version, since, until)
        layers = {layer: [Point(**point) for point in points] for layer, points in found.items()}
        return SamplesAnswer(layers=layers)


def _add_alerts(router: APIRouter, parts: Parts) -> None:
    history, options = parts.history, parts.options

    @router.get("/alerts", tags=["alerts"])
    def alerts(
        model: ModelName | None = None,
        version: Version | None = None,
        status: Literal["firing", "resolved"] | None = None,
        before: Annotated[str | None, Query(description="Fired before: for the next ones.")] = None,
        most: Most = 100,
    ) -> list[Alert]:
        """Open and past alerts, the newest first."""
        return history.alerts(model, version, status, before, most)

    @router.get("/alerts/{alert_id}", tags=["alerts"])
    def alert(alert_id: AlertId) -> AlertAnswer:
        """One alert with its course, and commands that look into it."""
        found = _known(history.alert(alert_id))
        return AlertAnswer(
            alert=found,
            steps=[Step(**step) for step in history.steps(found.id)],
            commands=alert_commands(found, options.recording),
            pictures=options.inputs is not None or options.fetch_inputs,
        )


def _add_pictures(router: APIRouter, parts: Parts) -> None:
    # pictures are asked for by the request that they belong to: a reference in an address would
    # let a page choose what this machine opens
    history = parts.history
    is_picture: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}}},
        204: {"description": "No picture, or none that may be opened."},
    }

    def picture(reference: str | None) -> Response:
        found = parts.pictures.open(reference) if reference else None
        # nothing is no error: a page that asks for it must not fill the browser's console
        return Response(found[1], media_type=found[0]) if found else Response(status_code=204)

    @router.get(
        "/alerts/{alert_id}/pictures/{place}",
        tags=["alerts"],
        response_class=Response,
        responses=is_picture,
    )
    def alert_picture(alert_id: AlertId, place: Annotated[int, Path(ge=0, lt=100)]) -> Response:
        """The input of one of the most suspicious requests, counted from 0."""
        suspects = _known(history.alert(alert_id)).most_suspicious
        return picture(suspects[place].input_ref if place < len(suspects) else None)

    @router.get(
        "/flagged/{number}/picture", tags=["models"], response_class=Response, responses=is_picture
    )
    def flagged_picture(number: Annotated[int, Path(ge=0, lt=2**63)]) -> Response:
        """The input of a flagged request."""
        return picture(_known(history.flagged_request(number)).input_ref)


def _add_service(router: APIRouter, parts: Parts) -> None:
    settings, standing = parts.settings, parts.follower.standing

    @router.get("/dead-letters", tags=["service"])
    def dead_letters(most: Most = 20) -> LettersAnswer:
        """How many messages were refused, by reason, and the newest of them."""
        counts, examples = parts.history.letters(most)
        return LettersAnswer(counts=[LetterCount(**row) for row in counts], examples=examples)

    @router.get("/workers", tags=["service"])
    def workers(hours: Annotated[float, Query(gt=0, le=720)] = 1.0) -> WorkersAnswer:
        """Health of the workers that --worker names, and the lag of their consumer group."""
        return WorkersAnswer(
            workers=[_worker(worker) for worker in parts.workers.all.values()],
            group=settings.application_id,
            lag=parts.lag.messages,
            trouble=parts.lag.trouble,
            lags=parts.history.lags(time.time() - hours * 3600),
        )

    @router.get("/status", tags=["service"])
    async def status(request: Request) -> StatusAnswer:
        """Where the dashboard itself stands."""
        ready, reason = standing.ready
        topics = settings.topics()
        return StatusAnswer(
            version=__version__,
            servers=settings.bootstrap_servers,
            user=request.scope.get("user_name", ""),
            ready=ready,
            reason=reason,
            missing_topics=standing.missing,
            behind=standing.behind,
            topics={role: getattr(topics, role) for role in topics.roles()},
            passed_over=sum(standing.passed_over.values()),
            can_log_out=bool(parts.options.token),
            workers_asked=len(parts.options.workers),
        )

    @router.get("/events", tags=["service"], response_class=StreamingResponse)
    async def events(last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
        """Server-sent events that say what changed: ask for it again."""
        if parts.changes.listeners >= MOST_LISTENERS:
            raise HTTPException(503, "too many pages listen: close some")
        return StreamingResponse(
            parts.changes.stream(last_event_id),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )


def _known(found: T | None) -> T:
    if found is None:
        raise HTTPException(404, "there is no such thing in the history")
    return found


def _worker(worker: Worker) -> WorkerAnswer:
    report = worker.report
    return WorkerAnswer(
        url=worker.url,
        state=worker.state,
        reason=worker.reason,
        asked_at=worker.asked_at,
        version=report.version,
        lag=sum(report.lags.values()),
        partitions=sorted(report.lags),
        waiting_seconds=report.waiting_seconds,
        rows=report.rows,
        dead_letters=report.dead_letters,
    )
