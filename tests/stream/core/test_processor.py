"""Messages in, records out: what is refused and why, and that the others do not notice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentwatch.producers.wire import EndOfStream, Limits, encode_end
from latentwatch.stream.core.errors import StateError
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import Lane, LaneKey
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.processor import MOST_LANES, Incoming, Processor
from latentwatch.stream.core.state_codec import pack, unpack
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.service.baselines import BaselineStore, baseline_url
from latentwatch.stream.settings import Settings

TOPICS = Settings().topics()
FUTURE_NS = 500_000 * HOUR_NS
POLICY = Policy(average_run_length=100_000, resolve_after_requests=64, allowed_lateness_ns=0)


@pytest.fixture(scope="module")
def make(traffic: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Processor]:
    """Processors that find the baseline of signs/1 alone."""
    folder = str(tmp_path_factory.mktemp("baselines"))
    traffic.baseline.save(baseline_url(folder, "signs", "1"))
    return lambda: Processor(
        TOPICS,
        BaselineStore(folder, lambda: 0.0, average_run_length=100_000).find,
        POLICY,
        limits=Limits(),
        newest_ns=lambda: FUTURE_NS,
    )


def incoming(traffic: Any, number: int, partition: int = 3, **options: Any) -> Incoming:
    """A message as Kafka gives it; its number is its offset."""
    message = traffic.message(number, **options)
    return Incoming(partition, number, message.key, message.value, message.headers)


def with_nan(message: Incoming) -> Incoming:
    """The message with NaN in its first activation."""
    value = bytearray(message.value or b"")
    start = int(dict(message.headers)["inference-header-content-length"])
    value[start : start + 4] = np.float32(np.nan).tobytes()
    return message._replace(value=bytes(value))


def unfit(traffic: Any, reason: str) -> Incoming:
    """A message at offset 5 that is refused."""
    ones = np.ones((16, 6), np.float32)
    match reason:
        case "missing layer":
            return incoming(traffic, 5, activations={"deep": ones})
        case "wrong dimension":
            wide = np.ones((16, 9), np.float32)
            return incoming(traffic, 5, activations={"early": wide, "deep": ones})
        case "unseen class":
            return incoming(traffic, 5, predicted=np.full(16, 2, np.int32))
        case "NaN":
            return with_nan(incoming(traffic, 5))
        case "future":
            return incoming(traffic, 5, times_ns=[traffic.start_ns] * 15 + [FUTURE_NS + 1])
        case "garbage":
            return Incoming(3, 5, b"\xff", b"garbage", [("odd", b"\xfe"), ("odd", b"")])
        case "cut short":
            sound = incoming(traffic, 5)
            return sound._replace(value=(sound.value or b"")[:-1])
        case _:
            return Incoming(3, 5, None, None, [])


REASONS = {
    "missing layer": "bad-dimension",
    "wrong dimension": "bad-dimension",
    "unseen class": "bad-class",
    "NaN": "not-finite",
    "future": "bad-time",
    "garbage": "bad-header",
    "cut short": "bad-length",
    "nothing at all": "not-cloudevent",
}


@pytest.mark.parametrize("fault", REASONS)
def test_refused_messages_are_kept_and_the_others_do_not_notice(
    traffic: Any, make: Callable[[], Processor], fault: str
) -> None:
    sound = [incoming(traffic, n, scale=4.0 if n > 8 else 1.0) for n in range(12) if n != 5]
    refused = unfit(traffic, fault)
    undisturbed, processor = make(), make()
    expected = undisturbed.take(sound)
    records = processor.take([*sound[:5], refused, *sound[5:]])
    (letter,) = [r for r in records if r.topic == TOPICS.dead_letter]
    assert [r for r in records if r.topic != TOPICS.dead_letter] == expected
    assert [r.topic for r in expected] == [TOPICS.alerts]
    assert processor.states() == undisturbed.states()
    headers = dict(letter.headers)
    assert headers["latentwatch-reason"].decode() == REASONS[fault]
    assert headers["latentwatch-detail"]
    assert (headers["latentwatch-partition"], headers["latentwatch-offset"]) == (b"3", b"5")
    assert letter.value == refused.value
    assert letter.headers[: len(refused.headers)] == refused.headers
    assert headers.get("latentwatch-key") == refused.key


def test_an_event_time_as_late_as_allowed_is_taken(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    assert make().take([incoming(traffic, 0, times_ns=[FUTURE_NS] * 16)]) == []


def test_too_many_lanes_are_refused_and_known_ones_go_on(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    processor, moment = make(), [traffic.start_ns]

    def single(offset: int, model: str, partition: int = 3) -> Incoming:
        return incoming(traffic, offset, partition, rows=1, model=model, times_ns=moment)

    invented = [single(offset, f"m{offset}") for offset in range(MOST_LANES)]
    assert processor.take(invented) == []
    (letter,) = processor.take([single(MOST_LANES, "signs")])
    assert letter.topic == TOPICS.dead_letter
    assert dict(letter.headers)["latentwatch-reason"] == b"too-many-lanes"
    known, elsewhere = single(MOST_LANES + 1, "m0"), single(0, "signs", partition=4)
    assert processor.take([known, elsewhere]) == []
    assert len(processor.pending()) == MOST_LANES + 1


def test_invented_models_do_not_keep_out_one_that_somebody_made_a_baseline_for(
    traffic: Any,
) -> None:
    processor = Processor(
        TOPICS,
        lambda model, _: traffic.baseline if model == "signs" else None,
        POLICY,
        limits=Limits(),
        newest_ns=lambda: FUTURE_NS,
        is_known=lambda model, _: model == "signs",
    )
    names = [f"m{offset}" for offset in range(MOST_LANES)]
    for offset, model in enumerate([*names, "signs"]):
        assert processor.take([incoming(traffic, offset, 3, rows=1, model=model)]) == []
    (letter,) = processor.take([incoming(traffic, MOST_LANES + 1, 3, rows=1, model="another")])
    assert dict(letter.headers)["latentwatch-reason"] == b"too-many-lanes"


@pytest.mark.parametrize("damage", [lambda s: s[:-9], lambda s: s[:40] + s[60:], lambda _: b"LWF1"])
def test_a_damaged_state_does_not_keep_a_partition_from_being_taken_over(
    traffic: Any, make: Callable[[], Processor], damage: Callable[[bytes], bytes]
) -> None:
    processor = make()
    processor.take([incoming(traffic, 0)])
    (state,) = processor.states().values()
    with pytest.raises(StateError, match="not a record of this version"):
        Lane.from_bytes(damage(state), traffic.baseline, POLICY)


def test_a_state_that_is_sound_but_for_its_contents_is_passed_over(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    processor = make()
    processor.take([incoming(traffic, 0)])
    (state,) = processor.states().values()
    header, blobs = unpack(state)
    for changed in (
        pack({**header, "alerts": {}}, blobs),
        pack(header, [blobs[0][:20], *blobs[1:]]),
        pack(header, [blobs[0], b"LWM2"]),
    ):
        fresh = make()
        assert fresh.assign(3, [changed, state]) == []
        assert len(fresh.pending()) == 1


def test_lanes_of_a_partition_are_apart(traffic: Any, make: Callable[[], Processor]) -> None:
    processor = make()
    processor.take([incoming(traffic, 0, model="signs"), incoming(traffic, 1, model="faces")])
    processor.take([incoming(traffic, 0, partition=4)])
    lanes = [LaneKey("faces", "1", 3), LaneKey("signs", "1", 3), LaneKey("signs", "1", 4)]
    assert sorted(processor.pending()) == lanes
    assert list(processor.states()) == lanes
    assert processor.states() == {}


def test_another_worker_goes_on_where_one_stopped(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    messages = [incoming(traffic, n, scale=4.0 if 10 < n < 16 else 1.0) for n in range(70)]
    undisturbed, first, second = make(), make(), make()
    expected = undisturbed.take(messages)
    assert {r.topic for r in expected} == {TOPICS.alerts, TOPICS.hour_sketches}
    before = first.take(messages[:9])
    assert second.assign(3, first.states().values()) == []
    assert second.partitions == {3}
    # the last messages come again, for their offsets were not acknowledged
    after = second.take(messages[5:])
    assert [r.key for r in before + after] == [r.key for r in expected]
    assert second.states() == undisturbed.states()


def test_a_partition_is_taken_over_with_the_parts_that_may_be_lost(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    first, second = make(), make()
    first.take([incoming(traffic, 0)])
    emitted = first.idle(3, "signs", "1")
    assert [HourPart.from_bytes(r.value or b"").tally.sketch.rows for r in emitted] == [16]
    assert second.assign(3, first.states().values()) == emitted


def test_a_partition_that_was_revoked_is_forgotten(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    processor = make()
    processor.take([incoming(traffic, 0), incoming(traffic, 0, partition=4)])
    processor.revoke(3)
    processor.revoke(77)
    assert processor.partitions == {4}
    assert list(processor.states()) == [LaneKey("signs", "1", 4)]
    assert processor.idle(3, "signs", "1") == []
    # without a state, a partition starts empty
    assert processor.assign(3, []) == []
    assert processor.take([incoming(traffic, 0)]) == []
    assert list(processor.states()) == [LaneKey("signs", "1", 3)]


def test_a_silent_lane_tells_once(traffic: Any, make: Callable[[], Processor]) -> None:
    processor = make()
    processor.take([incoming(traffic, 0)])
    assert processor.pending() == [LaneKey("signs", "1", 3)]
    assert len(processor.idle(3, "signs", "1")) == 1
    assert processor.pending() == []
    assert processor.idle(3, "signs", "1") == []
    assert processor.idle(3, "unknown", "1") == []


def test_a_baseline_that_comes_later_is_taken_up(traffic: Any, tmp_path: Path) -> None:
    now = 0.0
    policy = Policy(average_run_length=100_000)
    store = BaselineStore(str(tmp_path), lambda: now, average_run_length=100_000)
    processor = Processor(TOPICS, store.find, policy, limits=Limits(), newest_ns=lambda: FUTURE_NS)
    processor.take([incoming(traffic, 0)])
    traffic.baseline.save(baseline_url(str(tmp_path), "signs", "1"))
    now = 60.0
    processor.take([incoming(traffic, 1)])
    parts = [HourPart.from_bytes(r.value or b"") for r in processor.idle(3, "signs", "1")]
    assert [(part.baseline, part.tally.sketch.rows) for part in parts] == [
        ("", 16),
        (traffic.baseline.sha256, 16),
    ]


def end_of(model: str, offset: int, partition: int = 3) -> Incoming:
    """The message that closes a model's open hours."""
    message = encode_end(
        EndOfStream(model, "1"), source="/replay", event_id="e", time="2026-01-05T10:00:00Z"
    )
    return Incoming(partition, offset, message.key, message.value, message.headers)


def hour_rows(records: list[Any]) -> list[int]:
    """Requests in each part of an hour among records."""
    assert {record.topic for record in records} <= {TOPICS.hour_sketches}
    return [HourPart.from_bytes(record.value or b"").tally.sketch.rows for record in records]


def test_an_end_of_stream_closes_the_hours_of_its_model_and_partition_alone(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    processor = make()
    processor.take([incoming(traffic, 0), incoming(traffic, 0, model="ghost")])
    processor.take([incoming(traffic, 0, partition=4)])
    assert hour_rows(processor.take([end_of("signs", 1)])) == [16]
    assert hour_rows(processor.take([end_of("unknown", 2)])) == []
    assert {(key.model, key.partition) for key in processor.pending()} == {
        ("ghost", 3),
        ("signs", 4),
    }


def test_an_end_that_comes_again_closes_nothing_and_rows_after_it_are_counted(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    processor = make()
    processor.take([incoming(traffic, 0), end_of("signs", 1)])
    states = processor.states()
    again = make()
    again.assign(3, states.values())
    again.take([incoming(traffic, 2)])
    assert again.take([end_of("signs", 1)]) == []
    assert hour_rows(again.take([end_of("signs", 3)])) == [16]
    parts = [HourPart.from_bytes(r.value or b"").part for r in again.idle(3, "signs", "1")]
    assert parts == []


def test_a_malformed_end_goes_to_the_dead_letters(make: Callable[[], Processor]) -> None:
    message = end_of("signs", 0)
    headers = [h for h in message.headers if h[0] != "ce_modelname"]
    (letter,) = make().take([message._replace(headers=headers)])
    assert letter.topic == TOPICS.dead_letter
    assert dict(letter.headers)["latentwatch-reason"] == b"bad-header"


def test_messages_decided_together_give_what_each_alone_gives(
    traffic: Any, make: Callable[[], Processor]
) -> None:
    messages = [
        message
        for number in range(24)
        if number != 5
        for message in (
            incoming(traffic, number, scale=4.0 if 8 <= number < 16 else 1.0),
            incoming(traffic, number, partition=4, rows=100),
            incoming(traffic, number, model="ghost"),
            *([unfit(traffic, "unseen class")] if number == 4 else []),
        )
    ]
    messages += [messages[-3], end_of("signs", 30), incoming(traffic, 31)]
    alone, together = make(), make()

    one_by_one = [record for message in messages for record in alone.take([message])]

    assert sorted(map(str, together.take(messages))) == sorted(map(str, one_by_one))
    assert together.states() == alone.states()
    assert {TOPICS.alerts, TOPICS.dead_letter, TOPICS.hour_sketches} <= {
        record.topic for record in one_by_one
    }
