"""The lane-state topic, in which the state of each lane outlives its worker.

It is a compacted topic of our own with as many partitions as the input: the state of a lane lies
in the partition with the number of its input. A write is awaited before the input offsets are
acknowledged. The partition is read to its end before the first record of its input is processed.
"""

from __future__ import annotations

import structlog

from latentwatch.stream.core.errors import StateError
from latentwatch.stream.core.lane import Lane, LaneKey
from latentwatch.stream.kafka.reader import read_topic
from latentwatch.stream.settings import Settings

__all__ = ["read_lane_states", "state_key"]

_log = structlog.get_logger("latentwatch.state")


def state_key(key: LaneKey) -> bytes:
    """Key of a lane's record within its partition."""
    return f"{key.model}/{key.version}".encode()


async def read_lane_states(settings: Settings, partition: int) -> list[bytes]:
    """State of each lane of a partition; of several records, the one that got furthest.

    A worker that was paused may write its old state after another one took over. The offset in the
    state says which is newer, not the order of arrival.
    """
    newest: dict[bytes, tuple[int, bytes]] = {}
    # workers write no transactions: those of others must not hide where the topic ends
    records = read_topic(
        settings,
        settings.topics().lane_state,
        partitions=[partition],
        isolation_level="read_uncommitted",
    )
    async for record in records:
        if record.key is None or record.value is None:
            continue
        try:
            offset = Lane.offset_of(record.value)
        except StateError as error:
            _log.error(
                "lane state unreadable: passed over",
                key=record.key.decode(errors="replace"),
                error=str(error),
            )
            continue
        if record.key not in newest or offset >= newest[record.key][0]:
            newest[record.key] = (offset, record.value)
    return [value for _, value in newest.values()]
