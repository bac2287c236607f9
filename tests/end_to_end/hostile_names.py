"""Sends a record whose header name is not UTF-8; aiokafka's pure Python encoder allows it.

AIOKAFKA_NO_EXTENSIONS=1 python -m tests.end_to_end.hostile_names BOOTSTRAP TOPIC PARTITION
"""

import asyncio
import sys

from aiokafka import AIOKafkaProducer


class NotUtf8(str):
    """A name that encodes to bytes that are not a character."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """Bytes that are not valid UTF-8."""
        return b"\xff\xfe\x80"


async def main(bootstrap: str, topic: str, partition: str) -> None:
    """Send one."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        headers = [(NotUtf8("name"), b"1"), ("after", b"2")]
        await producer.send_and_wait(topic, b"x", b"k", int(partition), headers=headers)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
