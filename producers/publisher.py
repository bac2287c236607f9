"""Publish activations to Kafka from an inference service without ever blocking it.

`ActivationPublisher` is for asyncio services. `BackgroundPublisher` is for all others and runs an
event loop in a thread of its own. In both, `publish` copies rows into a bounded buffer and returns
at once; a task groups them into messages (see `latentwatch.producers.wire`) and sends them. While
the broker is away the buffer fills and further rows are dropped and counted; sending resumes when
the broker is back.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from types import TracebackType
from typing import Self

from latentwatch.producers._buffer import Counters
from latentwatch.producers._intake import Publisher
from latentwatch.producers._sender import logger
from latentwatch.producers.errors import PublisherError

__all__ = ["ActivationPublisher", "BackgroundPublisher", "Counters", "PublisherError"]


class ActivationPublisher(Publisher):
    """Publishes from an asyncio service, on its event loop.

    Examples
    --------
    ::

        async with ActivationPublisher("kafka:9092", "signs", "3") as publisher:
            ...
            publisher.publish(activations.read(), predicted, request_ids=ids)
    """

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start sending; does not wait for the broker.

        Raises
        ------
        PublisherError
            aiokafka refuses the options, or the publisher was started before.
        """
        await self._sender.start()

    async def flush(self, timeout: float = 5.0) -> bool:
        """Send without lingering; True if every row was settled within `timeout` seconds."""
        return await self._sender.flush(timeout)

    async def close(self, timeout: float = 5.0) -> None:
        """Flush and disconnect within `timeout` seconds; never raises. Unsent rows are dropped."""
        await self._sender.close(timeout)


class BackgroundPublisher(Publisher):
    """Publishes from a synchronous service, in a daemon thread.

    Encoding, compression and sending happen in that thread. Close the publisher, or use it as a
    context manager: at interpreter exit the thread is killed and its unsent rows are lost.

    Examples
    --------
    ::

        with BackgroundPublisher("kafka:9092", "signs", "3") as publisher:
            ...
            publisher.publish(activations.read(), predicted, request_ids=ids)
    """

    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _finished: asyncio.Event

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread; does not wait for the broker.

        Raises
        ------
        PublisherError
            aiokafka refuses the options, or the publisher was started before.
        """
        if self._thread is not None:
            raise PublisherError("this publisher was already started: create a new one")
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=self._work, args=(started,), name="latentwatch-publisher", daemon=True
        )
        self._thread.start()
        started.result()

    def flush(self, timeout: float = 5.0) -> bool:
        """Send without lingering; True if every row was settled within `timeout` seconds."""
        if self._loop is None or self._loop.is_closed():
            return self.counters.queued == 0
        flushed = asyncio.run_coroutine_threadsafe(self._sender.flush(timeout), self._loop)
        try:
            return flushed.result(timeout + 1.0)
        except (concurrent.futures.CancelledError, concurrent.futures.TimeoutError):
            return False

    def close(self, timeout: float = 5.0) -> None:
        """Flush, disconnect and end the thread within `timeout` seconds; never raises.

        Rows left in the buffer are dropped.
        """
        end = time.monotonic() + timeout
        self._buffer.close()
        if self._thread is not None and self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(Exception):
                finish = self._finish(timeout)
                asyncio.run_coroutine_threadsafe(finish, self._loop).result(timeout)
            self._thread.join(max(0.0, end - time.monotonic()))
        self._buffer.discard()

    def _work(self, started: concurrent.futures.Future[None]) -> None:
        try:
            asyncio.run(self._serve(started))
        except Exception:
            logger.exception("the publisher's thread ended with an error")

    async def _serve(self, started: concurrent.futures.Future[None]) -> None:
        self._finished = asyncio.Event()
        try:
            await self._sender.start()
        except Exception as error:
            started.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        started.set_result(None)
        await self._finished.wait()

    async def _finish(self, timeout: float) -> None:
        try:
            await self._sender.close(timeout * 0.9)
        finally:
            self._finished.set()
