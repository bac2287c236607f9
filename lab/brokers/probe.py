"""Asks a broker whether it is ready."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

__all__ = ["answers"]

_CONNECT_SECONDS = 1.0
_REQUEST_MS = 5_000


def answers(bootstrap_servers: str) -> bool:
    """Return whether the broker answers a metadata request and names itself in it."""
    host, _, port = bootstrap_servers.rpartition(":")
    try:
        # aiokafka logs an error for each refused connection; while a broker starts it is none.
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError:
        return False
    # In a separate thread, because the caller may already be running an event loop.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(_knows_a_broker(bootstrap_servers))).result()


async def _knows_a_broker(bootstrap_servers: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
