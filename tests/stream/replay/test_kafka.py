"""Into a real Kafka and out of it: what is sent, and what stops a replay or a recorder."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from latentwatch.producers.wire import decode, encode, read_end
from latentwatch.stream.core.errors import BrokerError, RecordingError, TopicError
from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.recording import RecordedMessage, Recording
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.recorder import Recorder
from latentwatch.stream.recording.writer import RecordingWriter
from latentwatch.stream.replay.kafka import Pace, Replay
from latentwatch.stream.settings import Settings

pytestmark = pytest.mark.broker


@pytest.fixture
def ready(settings: Settings) -> Settings:
    """Settings whose topics exist."""
    asyncio.run(create_topics(settings))
    return settings


def messages_of(traffic: Any, partitions: int = 2, each: int = 3) -> list[RecordedMessage]:
    return [
        RecordedMessage(partition, number, traffic.batch(10 * partition + number))
        for number in range(each)
        for partition in range(partitions)
    ]


def replay(settings: Settings, messages: list[RecordedMessage], **options: Any) -> Replay:
    replaying = Replay(settings, Pace(None), **options)
    asyncio.run(replaying.run(messages))
    return replaying


async def read(settings: Settings) -> dict[int, list[Any]]:
    """All records of the activations topic, by partition."""
    async with AIOKafkaConsumer(**settings.kafka_options()) as consumer:
        places = [
            TopicPartition(settings.topics().activations, p) for p in range(settings.partitions)
        ]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        found: dict[int, list[Any]] = {}
        while any([await consumer.position(p) < ends[p] for p in places]):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                found.setdefault(place.partition, []).extend(records)
        return found


def record(settings: Settings, folder: Path, **options: Any) -> Recorder:
    files = RecordingFiles(str(folder))
    writer = RecordingWriter(files, most_bytes=10**9, most_seconds=1e9)
    recorder = Recorder(settings, writer, files.recover(), **options)
    asyncio.run(recorder.run(asyncio.Event(), until_end=True))
    return recorder


def test_messages_arrive_as_they_were_on_their_partitions_with_an_end_behind(
    ready: Settings, traffic: Any
) -> None:
    messages = messages_of(traffic)
    assert replay(ready, messages).rows == 6 * 16
    found = asyncio.run(read(ready))
    assert set(found) == {0, 1}
    for partition, records in found.items():
        *rows, end = records
        sent = [m.batch for m in messages if m.partition == partition]
        assert [(r.key, r.value, list(r.headers)) for r in rows] == [
            tuple(encode(batch)) for batch in sent
        ]
        marker = read_end(end.headers)
        assert marker is not None
        assert marker == ("signs", "1")


def test_partitions_that_the_topic_lacks_are_chosen_by_the_key(
    ready: Settings, traffic: Any
) -> None:
    messages = [RecordedMessage(99, n, traffic.batch(n)) for n in range(4)]
    replay(ready, messages, end_marker=False)
    (records,) = asyncio.run(read(ready)).values()
    assert [decode(r.value, r.headers).event_id for r in records] == [
        f"event-{n}" for n in range(4)
    ]


def test_a_replay_without_a_topic_says_how_to_make_it(settings: Settings, traffic: Any) -> None:
    with pytest.raises(TopicError, match="latentwatch topics"):
        replay(settings, messages_of(traffic))


def test_workers_that_do_not_move_stop_the_replay(ready: Settings, traffic: Any) -> None:
    replay(ready, messages_of(traffic), end_marker=False)

    async def wait() -> int:
        async with WorkerLag(ready, patience_seconds=0.5) as lag:
            assert await lag.messages({0: 3, 1: 3}) == 6
            await lag.wait_below(6, {0: 3, 1: 3})
            await lag.wait_below(5, {0: 3, 1: 3})
        return 0

    with pytest.raises(BrokerError, match=r"6 messages behind .*latentwatch worker"):
        asyncio.run(wait())


def test_lag_counts_what_the_group_has_not_committed(ready: Settings, traffic: Any) -> None:
    replay(ready, messages_of(traffic), end_marker=False)

    async def commit() -> list[int]:
        consumer = AIOKafkaConsumer(**ready.kafka_options(), group_id=ready.application_id)
        async with consumer, WorkerLag(ready) as lag:
            place = TopicPartition(ready.topics().activations, 0)
            consumer.assign([place])
            await consumer.commit({place: 2})
            return [await lag.messages({0: 3, 1: 3}), await lag.total()]

    assert asyncio.run(commit()) == [1 + 3] * 2


def test_recorders_share_partitions_and_go_on_where_the_files_end(
    ready: Settings, traffic: Any, tmp_path: Path
) -> None:
    replay(ready, messages_of(traffic))
    assert record(ready, tmp_path, partitions=[1]).messages == 3
    assert record(ready, tmp_path).messages == 3
    replay(ready, messages_of(traffic))
    # ends of streams are skipped, and read again until rows follow
    assert record(ready, tmp_path).messages == 6
    assert record(ready, tmp_path).messages == 0
    offsets = [(m.partition, m.offset) for m in Recording(str(tmp_path)).messages()]
    assert sorted(offsets) == [(p, n) for p in (0, 1) for n in (0, 1, 2, 4, 5, 6)]


def test_what_cannot_be_decoded_is_counted_and_passed_over(
    ready: Settings, traffic: Any, tmp_path: Path
) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(**ready.kafka_options()) as producer:
            await producer.send_and_wait(ready.topics().activations, b"garbage", partition=0)

    replay(ready, messages_of(traffic, partitions=1), end_marker=False)
    asyncio.run(send())
    late = traffic.batch(9, times_ns=[4_000_000_000 * 10**9] * 16)
    replay(ready, [RecordedMessage(0, 0, late)], end_marker=False)
    recorder = record(ready, tmp_path)
    assert dict(recorder.skipped) == {"not-cloudevent": 1, "bad-time": 1}
    assert recorder.messages == 3
    assert RecordingFiles(str(tmp_path)).recover() == {0: 5}


def test_a_topic_that_was_recreated_is_not_mixed_with_the_old_one(
    ready: Settings, traffic: Any, tmp_path: Path
) -> None:
    writer = RecordingWriter(RecordingFiles(str(tmp_path)), most_bytes=1, most_seconds=1)
    writer.add(RecordedMessage(0, 77, traffic.batch(0)), 0.0)
    with pytest.raises(RecordingError, match=r"recorded up to 78.*another folder"):
        record(ready, tmp_path)


def test_messages_that_kafka_deleted_are_reported_and_the_rest_recorded(
    ready: Settings, traffic: Any, tmp_path: Path, caplog: Any, capsys: Any
) -> None:
    replay(ready, messages_of(traffic, partitions=1, each=1), end_marker=False)
    record(ready, tmp_path)
    replay(ready, messages_of(traffic, partitions=1, each=3), end_marker=False)

    async def delete() -> None:
        admin = AIOKafkaAdminClient(**ready.kafka_options())
        await admin.start()
        place = TopicPartition(ready.topics().activations, 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=3)})
        await admin.close()

    asyncio.run(delete())
    record(ready, tmp_path)
    assert "deleted before they were recorded" in capsys.readouterr().out + caplog.text
    times = [m.offset for m in Recording(str(tmp_path)).messages()]
    assert times == [0, 3]
    assert np.all(np.diff(times) > 0)


def test_partitions_and_topics_that_are_not_there_are_refused(
    ready: Settings, tmp_path: Path
) -> None:
    with pytest.raises(TopicError, match="no partition 40"):
        record(ready, tmp_path, partitions=[40])
    nowhere = ready.model_copy(update={"topic_activations": "other"})
    with pytest.raises(TopicError, match="latentwatch topics"):
        record(nowhere, tmp_path)
