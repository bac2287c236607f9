"""The task that sends rows from the buffer to Kafka, and survives outages of the broker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from typing import Any

from latentwatch.producers._batch import ActivationBatch, Message, Traces, traces_of
from latentwatch.producers._buffer import RowBuffer
from latentwatch.producers._encode import encode
from latentwatch.producers._rows import Rows, finite_only
from latentwatch.producers._settings import PublisherSettings
from latentwatch.producers.errors import EncodeError, PublisherError

logger = logging.getLogger("latentwatch.producers")

# Few messages are in flight inside the client: in an outage nearly all rows then stay in our
# buffer and are sent afterwards, instead of expiring in the client's.
_IN_FLIGHT = 8
_FIRST_BACKOFF, _LAST_BACKOFF = 0.25, 10.0
_POLL = 0.005


class ThrottledLog:
    """Logs each kind of warning at most once per `interval` seconds, with the number suppressed.

    The publisher runs in somebody else's service and must not flood its log.
    """

    def __init__(self, interval: float = 30.0) -> None:
        self._interval = interval
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}
        self._lock = threading.Lock()

    def warning(self, kind: str, message: str) -> None:
        """Log the message, unless one of its kind was logged within the interval."""
        with self._lock:
            now = time.monotonic()
            if kind in self._last and now - self._last[kind] < self._interval:
                self._held_back[kind] = self._held_back.get(kind, 0) + 1
                return
            self._last[kind] = now
            held_back = self._held_back.pop(kind, 0)
        more = f" ({held_back} more like this before)" if held_back else ""
        logger.warning("%s%s", message, more)


class Sender:
    """Runs in an event loop; `wake` may be called from any thread, the rest from that loop."""

    def __init__(self, settings: PublisherSettings, buffer: RowBuffer, log: ThrottledLog) -> None:
        self._settings = settings
        self._buffer = buffer
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._hurry = asyncio.Event()
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._in_flight: dict[int, int] = {}
        self._numbers = itertools.count()
        self._broken = False
        self._closing = False
        self._patience = 1.0

    async def start(self) -> None:
        """Start sending; does not wait for the broker.

        Raises
        ------
        PublisherError
            aiokafka refuses the options, or the publisher was started before.
        """
        if self._task is not None:
            raise PublisherError("this publisher was already started: create a new one")
        producer = self._new_producer()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(producer), name="latentwatch-publisher")

    def wake(self) -> None:
        """Signal the task that rows have arrived."""
        full = self._buffer.waiting >= self._settings.max_rows
        if self._loop is None or (self._arrived.is_set() and (self._hurry.is_set() or not full)):
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is sent any more
            self._loop.call_soon_threadsafe(self._signal, full)

    async def flush(self, timeout: float) -> bool:
        """Send without lingering; True if every row was settled within `timeout` seconds."""
        end = asyncio.get_running_loop().time() + timeout
        while self._buffer.counters.queued:
            self._signal(True)
            if asyncio.get_running_loop().time() >= end:
                return False
            await asyncio.sleep(_POLL)
        return True

    async def close(self, timeout: float) -> None:
        """Flush, disconnect and count the rest as failed or dropped, within `timeout` seconds."""
        self._buffer.close()
        self._patience = min(1.0, timeout / 4)
        if self._task is not None:
            await self.flush(timeout - self._patience)
            self._closing = True
            self._task.cancel()
            await asyncio.wait([self._task], timeout=self._patience)
        for number in list(self._in_flight):
            self._settle(number, sent=False)
        self._buffer.discard()

    def _signal(self, hurry: bool) -> None:
        self._arrived.set()
        if hurry:
            self._hurry.set()

    def _new_producer(self) -> Any:
        # aiokafka is slow to import, and code that only encodes or captures does not need it
        from aiokafka import AIOKafkaProducer

        try:
            return AIOKafkaProducer(**self._settings.client_options)
        except (TypeError, ValueError, RuntimeError) as error:
            raise PublisherError(f"aiokafka refuses the options: {error}") from error

    async def _run(self, producer: Any) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                await producer.start()
                backoff = _FIRST_BACKOFF
                await self._pump(producer)
            except Exception as error:
                self._log.warning(
                    "connection", f"cannot publish to {self._settings.topic}, will retry: {error!r}"
                )
            finally:
                await self._disconnect(producer)
            if self._closing:  # the cancellation may have been swallowed in the line above
                return
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _LAST_BACKOFF)
            producer = self._new_producer()

    async def _pump(self, producer: Any) -> None:
        """Send rows as they arrive, until the client breaks."""
        self._broken = False
        if self._buffer.waiting:  # left over from a client that broke
            self._arrived.set()
        while not self._broken:
            await self._gather()
            while not self._broken:
                await self._slots.acquire()
                rows = self._buffer.take(self._settings.max_rows, self._settings.max_values)
                if rows is None:
                    self._slots.release()
                    break
                await self._send(producer, rows)

    async def _gather(self) -> None:
        """Wait for the first row, then for a full message or the end of the linger time."""
        await self._arrived.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._settings.linger_ms / 1000)
        # Cleared before the buffer is emptied, so that later rows signal again.
        self._arrived.clear()
        self._hurry.clear()

    async def _send(self, producer: Any, rows: Rows) -> None:
        number = next(self._numbers)
        finite = finite_only(rows)
        if len(finite) < len(rows):
            self._buffer.fail(len(rows) - len(finite))
            self._log.warning("finite", f"{len(rows) - len(finite)} rows contain NaN or infinity")
        self._in_flight[number] = len(finite)
        if not len(finite):
            del self._in_flight[number]
            self._slots.release()
            return
        try:
            future = await self._submit(producer, self._message(finite))
        except Exception as error:
            self._give_up(number, error)
        else:
            future.add_done_callback(lambda done: self._answered(number, done))

    def _message(self, rows: Rows) -> Message:
        settings = self._settings
        refs = rows.input_refs if any(ref is not None for ref in rows.input_refs) else None
        traces = Traces(None, None) if rows.traceparents is None else traces_of(rows.traceparents)
        batch = ActivationBatch(
            model=settings.model,
            version=settings.version,
            activations=rows.activations,
            predicted=rows.predicted,
            event_time_ns=rows.event_time_ns,
            request_ids=rows.request_ids,
            input_refs=refs,
            clients=rows.clients,
            source=settings.source,
            traceparent=traces.traceparent,
            traceparents=traces.traceparents,
            shard=settings.shard,
        )
        return encode(batch, datatype=settings.datatype)

    async def _submit(self, producer: Any, message: Message) -> asyncio.Future[Any]:
        """Hand a message to the client; retry for as long as the error is retriable."""
        from aiokafka.errors import KafkaError

        while True:
            try:
                future: asyncio.Future[Any] = await producer.send(
                    self._settings.topic,
                    key=message.key,
                    value=message.value,
                    headers=message.headers,
                )
                return future
            except KafkaError as error:
                if not error.retriable:
                    raise
                self._log.warning("broker", f"the broker does not accept messages yet: {error!r}")
            await asyncio.sleep(_FIRST_BACKOFF)

    def _answered(self, number: int, future: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self._settle(number, sent=True)
        elif number in self._in_flight:
            self._give_up(number, error)

    def _give_up(self, number: int, error: BaseException) -> None:
        from aiokafka.errors import MessageSizeTooLargeError

        # After a failed batch the broker refuses all later sequence numbers of an idempotent
        # producer, so a new producer is needed. Errors of a single message do not have this effect.
        self._broken |= not isinstance(error, (EncodeError, MessageSizeTooLargeError))
        self._log.warning("message", f"{self._in_flight[number]} rows could not be sent: {error!r}")
        self._settle(number, sent=False)

    def _settle(self, number: int, *, sent: bool) -> None:
        rows = self._in_flight.pop(number, None)
        if rows is not None:
            self._slots.release()
            self._buffer.settle(rows, sent=sent)

    async def _disconnect(self, producer: Any) -> None:
        """Close the client and give up its undelivered messages."""
        with contextlib.suppress(Exception, asyncio.CancelledError):
            if self._in_flight:
                await self._abort(producer)
            else:
                await asyncio.wait_for(producer.stop(), self._patience)
        for number in list(self._in_flight):
            self._settle(number, sent=False)

    async def _abort(self, producer: Any) -> None:
        # stop() first waits for delivery, however long the broker is away, and aiokafka has no
        # public way to give up. These are the steps of stop() without that wait.
        producer._closed = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(producer._sender.close(), self._patience / 2)
        await asyncio.wait_for(producer.client.close(), self._patience / 2)
