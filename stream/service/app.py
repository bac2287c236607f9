"""The Faust app: reads bytes, hands them to the engine, acknowledges what is safe.

Faust is used for what it does well: consumer groups, rebalances, back-pressure. Decoding is ours (a
decode error inside Faust kills the agent), state is ours (see `stream.service.lane_state`), and
acknowledgement is by hand: an exception in an agent would acknowledge its batch, so any unexpected
error ends the process without committing, and the restart gets the batch again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from tempfile import mkdtemp
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from mode import CrashingSupervisor

from latentwatch.stream.core.processor import Incoming
from latentwatch.stream.kafka.bounded_batches import read_within_bounds
from latentwatch.stream.kafka.transport import PromptApp
from latentwatch.stream.service.engine import SESSION_SECONDS, Engine
from latentwatch.stream.service.metrics import serve_metrics
from latentwatch.stream.settings import Settings
from latentwatch.stream.settings.logs import configure_logs

__all__ = ["build_app", "run_worker"]

IDLE_CHECK_SECONDS = 1.0
LOOK_SECONDS = 1.0
LINGER_SECONDS = 0.05
"""How long to wait for messages that arrive together."""

BUFFERED_MESSAGES = 64
"""Messages that Faust buffers per partition; more would only cost memory."""


def build_app(settings: Settings, engine: Engine) -> faust.App:
    """Build the Faust app of one worker process around its engine."""
    topics = settings.topics()
    app = PromptApp(
        settings.application_id,
        broker=[f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        store="memory://",
        cache="memory://",
        datadir=mkdtemp(prefix="latentwatch-"),
        topic_allow_declare=False,
        topic_disable_leader=True,
        # the tables' and router's web endpoints belong to Faust's own state, which is not used
        web_enabled=False,
        agent_supervisor=CrashingSupervisor,
        stream_buffer_maxsize=BUFFERED_MESSAGES,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=settings.max_message_bytes,
        broker_commit_interval=settings.flush_seconds,
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=SESSION_SECONDS / 4,
        producer_acks=-1,
    )

    def raw(name: str) -> Any:
        return app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

    assigned = asyncio.Event()

    async def current(events: Sequence[Any]) -> list[Any]:
        # Buffers still hold events while partitions change hands: taken then, they would bring
        # back lanes that were let go of. Once it is known whose they are, those of a generation
        # that has ended must be neither taken nor acknowledged: they come again, here or
        # elsewhere. (A member may be given the same generation twice; its events still stand.)
        while not assigned.is_set():
            await assigned.wait()
        generation = app.consumer_generation_id
        return [event for event in events if event.message.generation_id == generation]

    @app.agent(raw(topics.activations), name="activations", concurrency=1)
    async def watch(stream: Any) -> None:
        async for events in _batches(stream, settings):
            fresh = await current(events)
            if fresh:
                await engine.take([_incoming(event) for event in fresh])
            for event in fresh:
                await stream.ack(event)

    @app.agent(raw(topics.hour_sketches), name="hours", concurrency=1)
    async def add_up(stream: Any) -> None:
        async for events in _batches(stream, settings):
            for partition in sorted({event.message.partition for event in events}):
                own = await current([e for e in events if e.message.partition == partition])
                if own:
                    first = own[0].message.offset
                    await engine.take_parts(partition, first, [event.value for event in own])
                for event in own:
                    await stream.ack(event)

    @app.timer(interval=IDLE_CHECK_SECONDS)
    async def close_idle() -> None:
        if assigned.is_set():
            consumer: Any = app.consumer
            places = consumer.assignment()
            owned = {place.partition for place in places if place.topic == topics.activations}
            await engine.close_idle(owned, consumer.is_member)

    @app.timer(interval=LOOK_SECONDS)
    async def look() -> None:
        engine.pulse()
        lags: dict[int, int] = {}
        # partitions may change hands, and the consumer may stop, at any moment
        with suppress(KafkaError, ConsumerNotStarted):
            if assigned.is_set():
                lags = await _lags(app, topics.activations)
        engine.look(lags)

    async def let_go(_: Any, revoked: Any, **__: Any) -> None:
        assigned.clear()
        for place in revoked:
            await engine.forget(place.topic, place.partition)

    async def take_over(*_: Any, **__: Any) -> None:
        assigned.set()

    app.on_partitions_revoked.connect(let_go, weak=False)  # type: ignore[arg-type]  # Faust's own form
    app.on_partitions_assigned.connect(take_over, weak=False)
    return app


async def _batches(stream: Any, settings: Settings) -> AsyncIterator[Sequence[Any]]:
    """Messages that wait, in batches; one every `flush_seconds`, or at once when many wait.

    Faust would wait for so long each time, after it has worked on the batch before: what came in
    the meantime would wait for nothing.
    """
    within = min(LINGER_SECONDS, settings.flush_seconds)
    async for events in stream.noack_take(settings.take_max, within=within):
        begun = time.monotonic()
        yield events
        # when more came, others wait: Faust's buffer is full, or nearly
        if len(events) < BUFFERED_MESSAGES // 2:
            await asyncio.sleep(max(0.0, begun + settings.flush_seconds - time.monotonic()))


async def _lags(app: faust.App, topic: str) -> dict[int, int]:
    """Messages that wait, by partition: at the broker, or here and not acknowledged.

    The position, not the offset of the last message, shows whether the end was reached: markers of
    transactions have offsets as well.
    """
    consumer = app.consumer
    places = [place for place in consumer.assignment() if place.topic == topic]
    first: dict[int, int] = {}
    for message in list(consumer.unacked):
        own = message.topic == topic and message.generation_id == app.consumer_generation_id
        if own and not message.acked:
            known = first.get(message.partition, message.offset)
            first[message.partition] = min(known, message.offset)
    lags = {}
    for place in places:
        reached = first.get(place.partition)
        if reached is None:
            reached = await consumer.position(place)
        lags[place.partition] = max((consumer.highwater(place) or 0) - (reached or 0), 0)
    return lags


def _incoming(event: Any) -> Incoming:
    message = event.message
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Incoming(message.partition, message.offset, event.key, event.value, list(pairs))


def _credentials(settings: Settings) -> Any:
    context = settings.kafka_ssl_context()
    if settings.sasl_mechanism and settings.sasl_password:
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context else None


class _Worker(faust.Worker):
    """Disconnects the engine after the agents have stopped."""

    def __init__(self, app: faust.App, engine: Engine, **options: Any) -> None:
        super().__init__(app, **options)
        self._engine = engine

    async def on_shutdown(self) -> None:
        await super().on_shutdown()
        await self._engine.stop()


def run_worker(settings: Settings) -> None:
    """Run until a signal ends it: exit code 0 after SIGTERM, 1 after an unexpected error."""
    configure_logs(settings)
    read_within_bounds(settings.max_message_bytes)
    log = structlog.get_logger("latentwatch.worker")
    log.info(
        "worker started",
        bootstrap_servers=settings.bootstrap_servers,
        application_id=settings.application_id,
        baselines=settings.baselines,
        average_run_length=settings.average_run_length,
    )
    engine = Engine(settings)
    worker = _Worker(
        build_app(settings, engine),
        engine,
        loglevel=logging.getLevelName(logging.WARNING),
        redirect_stdouts=False,
        quiet=True,
        override_logging=False,
    )
    with serve_metrics(settings, engine.observer, engine.health):
        try:
            worker.execute_from_commandline()
        except SystemExit as end:
            # an error while it stops: Faust ends with code 1 and does not say why
            if end.code and end.__context__ is not None:
                log.error("worker stopped with an error", exc_info=end.__context__)
            raise
