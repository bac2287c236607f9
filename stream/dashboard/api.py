"""The JSON API: everything that the pages show, available to programs too."""

from __future__ import annotations

import shlex
import time
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from latentwatch import __version__
from latentwatch.stream.core.events import AlertEvent, RateRow
from latentwatch.stream.dashboard.changes import MOST_LISTENERS
from latentwatch.stream.dashboard.components import Components
from latentwatch.stream.dashboard.responses import (
    AlertResponse,
    FlaggedResponse,
    LetterCount,
    LettersResponse,
    Model,
    Point,
    SamplesResponse,
    StatusResponse,
    Step,
    WorkerResponse,
    WorkersResponse,
)
from latentwatch.stream.dashboard.workers import Worker

__all__ = ["alert_commands", "api"]

ModelName = Annotated[str, Query(max_length=1000)]
Version = Annotated[str, Query(max_length=1000)]
Most = Annotated[int, Query(ge=1, le=1000, description="Largest number of results.")]
T = TypeVar("T")
AlertId = Annotated[str, Path(min_length=4, max_length=64, description="Id, or how it starts.")]


def api(components: Components) -> APIRouter:
    """All paths under ``/api``.

    Functions without ``async`` run in threads, because they read the history.
    """
    router = APIRouter(prefix="/api")
    _add_models(router, components)
    _add_alerts(router, components)
    _add_pictures(router, components)
    _add_service(router, components)
    return router


def _add_models(router: APIRouter, components: Components) -> None:
    history = components.history

    @router.get("/models", tags=["models"])
    def models() -> list[Model]:
        """Model versions, sorted by name."""
        return [Model(**found) for found in history.models()]

    @router.get("/hours", tags=["models"])
    def hours(model: ModelName, version: Version, most: Most = 168) -> list[RateRow]:
        """The latest hours, one row per layer, oldest first."""
        return history.hours(model, version, most)

    @router.get("/flagged", tags=["models"])
    def flagged(
        model: ModelName, version: Version, hour: str | None = None, most: Most = 50
    ) -> list[FlaggedResponse]:
        """Flagged requests, least typical first."""
        found = history.flagged(model, version, hour, most)
        return [FlaggedResponse(number=number, request=request) for number, request in found]

    @router.get("/samples", tags=["models"])
    def samples(
        model: ModelName, version: Version, since: float = 0.0, until: float = 1e12
    ) -> SamplesResponse:
        """Samples of the workers' windows; empty unless --worker is given.

        If a layer has more than 2,000, the highest score of each run of neighbours.
        """
        found = history.samples(model, version, since, until)
        layers = {layer: [Point(**point) for point in points] for layer, points in found.items()}
        return SamplesResponse(layers=layers)


def _add_alerts(router: APIRouter, components: Components) -> None:
    history, options = components.history, components.options

    @router.get("/alerts", tags=["alerts"], response_model_exclude={"__all__": {"fired_at_offset"}})
    def alerts(
        model: ModelName | None = None,
        version: Version | None = None,
        status: Literal["firing", "resolved"] | None = None,
        before: Annotated[
            str | None, Query(description="Only alerts fired before this time; use it to page.")
        ] = None,
        most: Most = 100,
    ) -> list[AlertEvent]:
        """Open and past alerts, latest first."""
        return history.alerts(model, version, status, before, most)

    @router.get(
        "/alerts/{alert_id}",
        tags=["alerts"],
        response_model_exclude={"alert": {"fired_at_offset"}},
    )
    def alert(alert_id: AlertId) -> AlertResponse:
        """One alert with its course, and commands to investigate it."""
        found = _known(history.alert(alert_id))
        return AlertResponse(
            alert=found,
            steps=[Step(**step) for step in history.steps(found.id)],
            commands=alert_commands(found, options.recording),
            pictures=options.inputs is not None or options.fetch_inputs,
        )


def _add_pictures(router: APIRouter, components: Components) -> None:
    # pictures are addressed by their request: a reference in the address would let a page choose
    # what this machine opens
    history = components.history
    is_picture: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}}},
        204: {"description": "There is no picture, or it may not be opened."},
    }

    def picture(reference: str | None) -> Response:
        found = components.pictures.open(reference) if reference else None
        # not an error: a missing picture must not fill the browser's console
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


def _add_service(router: APIRouter, components: Components) -> None:
    settings, progress = components.settings, components.follower.progress

    @router.get("/dead-letters", tags=["service"])
    def dead_letters(most: Most = 20) -> LettersResponse:
        """Numbers of refused messages by reason, and the latest of them."""
        counts, examples = components.history.letters(most)
        return LettersResponse(counts=[LetterCount(**row) for row in counts], examples=examples)

    @router.get("/workers", tags=["service"])
    def workers(hours: Annotated[float, Query(gt=0, le=720)] = 1.0) -> WorkersResponse:
        """Health of the workers given by --worker, and the lag of their consumer group."""
        return WorkersResponse(
            workers=[_worker(worker) for worker in components.workers.all.values()],
            group=settings.application_id,
            lag=components.lag.messages,
            trouble=components.lag.trouble,
            lags=components.history.lags(time.time() - hours * 3600),
        )

    @router.get("/status", tags=["service"])
    async def status(request: Request) -> StatusResponse:
        """State of the dashboard itself."""
        ready, reason = progress.ready
        topics = settings.topics()
        return StatusResponse(
            version=__version__,
            servers=settings.bootstrap_servers,
            user=request.scope.get("user_name", ""),
            ready=ready,
            reason=reason,
            missing_topics=progress.missing,
            behind=progress.behind,
            topics={role: getattr(topics, role) for role in topics.roles()},
            passed_over=sum(progress.passed_over.values()),
            can_log_out=bool(components.options.token),
            workers_asked=len(components.options.workers),
        )

    @router.get("/events", tags=["service"], response_class=StreamingResponse)
    async def events(last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
        """Server-sent events that name what changed, so that pages can reload it."""
        if components.changes.listeners >= MOST_LISTENERS:
            raise HTTPException(503, "too many open pages: close some, or poll instead")
        return StreamingResponse(
            components.changes.stream(last_event_id),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )


def alert_commands(alert: AlertEvent, recording: str) -> dict[str, str]:
    """Commands to copy: ``inspect`` an alert, and two ways to ``replay`` its hours.

    Names chosen by producers are quoted for the shell.

    Parameters
    ----------
    alert : AlertEvent
    recording : str
        Folder or URL.
    """
    name = alert.id[:12]
    part = ["--model", alert.model, "--model-version", alert.version, *_hours(alert)]
    inspect = ["latentwatch", "inspect", name, "--out", f"./alert-{name}"]
    return {
        "inspect": shlex.join(inspect),
        "replay_offline": shlex.join(
            ["latentwatch", "replay", recording, *part, "--offline", "--out", f"./replayed-{name}"]
        ),
        "replay": shlex.join(
            ["latentwatch", "replay", recording, *part,
             "--topic-prefix", "replay.", "--speed", "max"]
        ),
    }  # fmt: skip


def _hours(alert: AlertEvent) -> list[str]:
    """The full hours that an alert touches, so that a replay includes what led up to it."""
    try:
        first = datetime.fromisoformat(alert.window.first_event_time)
        last = max(first, datetime.fromisoformat(alert.last_seen_at))
    except (ValueError, TypeError):
        return []  # the producer sent no valid time
    until = last + timedelta(hours=1)
    return ["--since", f"{first:%Y-%m-%dT%H}", "--until", f"{until:%Y-%m-%dT%H}"]


def _known(found: T | None) -> T:
    if found is None:
        raise HTTPException(
            404, "not found in the history: it may be older than the retention period (--keep-days)"
        )
    return found


def _worker(worker: Worker) -> WorkerResponse:
    report = worker.report
    return WorkerResponse(
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
