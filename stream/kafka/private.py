"""Names inside aiokafka and Faust that are not public and that we cannot do without.

Everything that a new version of a library may rename without notice is listed in `PRIVATE_NAMES`,
with the reason why we need it. `check_private_names` compares the list with the installed versions
when a worker starts. A renamed hook would otherwise never be called again, without an error.

What is only accessed is accessed here. What Faust calls is overridden in `.transport`.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import requires, version
from types import CodeType
from typing import Any

from aiokafka.consumer import fetcher

from latentwatch.stream.core.errors import StreamError

__all__ = [
    "PRIVATE_NAMES",
    "IncompatibleLibraryError",
    "cancel_fetches",
    "check_private_names",
    "coordinator_heartbeat",
    "read_records_with",
]


class IncompatibleLibraryError(StreamError):
    """The installed version of a library lacks something that we depend on."""


PRIVATE_NAMES: Mapping[str, tuple[str, ...]] = {
    "batches are read within bounds by replacing the class that reads a response": (
        "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request MemoryRecords",
        "aiokafka.consumer.fetcher:Fetcher.__init__ _fetch_requests_routine",
    ),
    "a consumer whose broker is away must stop without cancelling its caller": (
        "aiokafka.consumer.consumer:AIOKafkaConsumer.stop _fetcher",
        "aiokafka.consumer.consumer:AIOKafkaConsumer.stop _client",
        "aiokafka.consumer.fetcher:Fetcher.close _pending_tasks",
    ),
    "the group's coordinator says whether we are still a member, and no public call asks it": (
        "aiokafka.consumer.consumer:AIOKafkaConsumer.start _coordinator",
        "aiokafka.consumer.group_coordinator:GroupCoordinator._heartbeat_routine _do_heartbeat",
        "faust.transport.consumer:ThreadDelegateConsumer.__init__ _thread",
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.getmany _ensure_consumer",
    ),
    "the worker's consumer is built by our own constructor": (
        "faust.app.base:App.transport _new_transport",
        "faust.transport.consumer:ThreadDelegateConsumer.__init__ _new_consumer_thread",
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start _create_consumer",
    ),
    "only what was flushed may be committed, whatever streams have acknowledged": (
        "faust.transport.consumer:Consumer.force_commit _filter_tps_with_pending_acks",
        "faust.transport.consumer:Consumer._commit_tps _filter_committable_offsets",
        "faust.transport.consumer:Consumer._filter_committable_offsets _new_offset",
        "faust.transport.consumer:Consumer._filter_committable_offsets _should_commit",
        "faust.transport.consumer:Consumer._filter_tps_with_pending_acks _acked",
    ),
    "polls must neither outlast a rebalance nor wait while records are ready": (
        "faust.transport.consumer:Consumer.getmany _wait_next_records",
        "faust.transport.consumer:Consumer._wait_next_records _get_active_partitions",
    ),
    "the end of one rebalance must not resume what the next one has stopped": (
        "faust.tables.manager:TableManager.recovery _recovery",
        "faust.tables.recovery:Recovery._restart_recovery _resume_streams",
    ),
}
"""Why we need them, and for each the function of the library that has to refer to it."""

_LIBRARIES = {"aiokafka": "aiokafka", "faust": "faust-streaming"}


def check_private_names(names: Mapping[str, Iterable[str]] = PRIVATE_NAMES) -> None:
    """Check that the installed libraries still use the names that we depend on.

    Raises
    ------
    IncompatibleLibraryError
        A name is missing; the message gives the library, its version and the name.
    """
    for reason, entries in names.items():
        for entry in entries:
            where, name = entry.split()
            if name not in _names_in(_function(where)):
                raise IncompatibleLibraryError(_incompatible(where, name, reason))


def _incompatible(where: str, name: str, reason: str) -> str:
    library = _LIBRARIES[where.split(".")[0]]
    wanted = [text.split(";")[0].strip() for text in requires("latentwatch") or ()]
    tested = next((text for text in wanted if text.startswith(library)), "another version")
    return (
        f"{library} {version(library)} is not compatible with this version of latentwatch: "
        f"{where} no longer uses {name} ({reason}). Install {tested}"
    )


def _function(where: str) -> Any:
    """The function at a place such as ``module:Class.method``; None if it is not there."""
    module, _, path = where.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
    except (ImportError, AttributeError):
        return None
    # properties, and the tasks of mode's services
    found = getattr(found, "fget", None) or getattr(found, "fun", None) or found
    return inspect.unwrap(found)


def _names_in(function: Any) -> set[str]:
    """Names that the code of a function refers to, including the code nested in it."""
    found: set[str] = set()
    codes = [getattr(function, "__code__", None)]
    while codes:
        if (code := codes.pop()) is not None:
            found |= set(code.co_names)
            codes += [const for const in code.co_consts if isinstance(const, CodeType)]
    return found


def read_records_with(make: Callable[[bytes], Any]) -> None:
    """Let consumers read each response by `make`, in place of aiokafka's ``MemoryRecords``."""
    fetcher.MemoryRecords = make


async def cancel_fetches(consumer: Any) -> None:
    """Cancel the fetches of a consumer whose `stop` was cut short, and close its connections."""
    fetches = list(consumer._fetcher._pending_tasks)
    for fetch in fetches:
        fetch.cancel()
    await asyncio.gather(*fetches, return_exceptions=True)
    await consumer._client.close()


async def coordinator_heartbeat(thread: Any) -> bool:
    """Send a heartbeat from the thread of Faust's consumer; whether the group knows us.

    Raises
    ------
    KafkaError, ConsumerNotStarted
        The coordinator does not answer, or the consumer has not started.
    """
    coordinator = thread._ensure_consumer()._coordinator
    # None while the consumer starts
    return coordinator is not None and bool(await thread.call_thread(coordinator._do_heartbeat))
