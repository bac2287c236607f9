"""The verdict on a soak: it holds for what is right, and names what is lost, doubled or changed."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import orjson
import pytest

from latentwatch.lab.soak.synthetic_stream import Planned, SyntheticStream
from latentwatch.lab.soak.topics import ROLES, Content
from latentwatch.lab.soak.truth import Truth, truth_of
from latentwatch.lab.soak.verdict import verdict
from latentwatch.producers.wire import WireError, decode
from latentwatch.stream.core.events import DeadLetter
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.processor import Incoming
from latentwatch.stream.replay.offline import OfflineReplay
from latentwatch.stream.service.baselines import BaselineStore
from latentwatch.stream.settings import Settings

STEPS = 40


class Run(NamedTuple):
    """What was sent, what stands in the topics, and what should."""

    settings: Settings
    sent: list[Planned]
    content: Content
    truth: Truth

    def differing(self, role: str, change: Callable[[list[Any]], list[Any]]) -> set[str]:
        """Names of the checks that do not hold once a topic's records are changed."""
        records = {**self.content.records, role: change(list(self.content[role]))}
        checks = verdict(self.settings, self.sent, Content(records), self.truth)
        return {check.name for check in checks if not check.holds}


class Stored(Incoming):
    """A record of the input, one a millisecond."""

    @property
    def timestamp(self) -> int:
        """When it came."""
        return self.offset


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The known stream, as one worker without baselines would leave it."""
    stream = SyntheticStream(seed=3)
    settings = stream.settings(baselines=str(tmp_path_factory.mktemp("none")))
    sent = [message for step in islice(stream.steps(), STEPS) for message in step]
    offsets: dict[int, int] = defaultdict(int)
    messages = []
    for message in sent:
        place = message.partition, offsets[message.partition]
        messages.append(Stored(*place, message.key, message.value, message.headers))
        offsets[message.partition] += 1
    truth = truth_of(settings, messages)
    records: dict[str, list[Any]] = {role: [] for role in ROLES}
    records["activations"] = messages
    lanes, rates = told(settings, messages)
    records["hour_sketches"], records["detection_rates"] = lanes, rates
    records["dead_letter"] = letters(settings, messages, truth)
    return Run(settings, sent, Content(records), truth)


def told(settings: Settings, messages: list[Incoming]) -> tuple[list[Incoming], list[Incoming]]:
    """Parts of hours, and rates, of an offline replay of its own."""

    def sound() -> Any:
        for m in messages:
            try:
                yield m.partition, m.offset, decode(m.value or b"", m.headers, key=m.key)
            except WireError:
                continue

    replay = OfflineReplay(settings, BaselineStore.of(settings, lambda: 0.0).find)
    parts = list(replay.lanes(sound()))
    rates = list(replay.with_rates(parts))
    return (
        [Incoming(0, n, r.key, r.value, r.headers) for n, r in enumerate(parts)],
        [Incoming(0, n, r.key, r.value, r.headers) for n, r in enumerate(rates)],
    )


def letters(settings: Settings, messages: list[Incoming], truth: Truth) -> list[Incoming]:
    found = []
    for m in messages:
        reason = truth.refused.get((m.partition, m.offset))
        if reason is not None:
            topics = settings.topics()
            letter = DeadLetter(
                topic=topics.activations, **m._asdict(), reason=reason, detail="poison"
            )
            record = letter.to_record(topics)
            found.append(Incoming(0, len(found), record.key, record.value, record.headers))
    return found


def test_an_undisturbed_run_holds(run: Run) -> None:
    assert run.differing("alerts", lambda records: records) == set()
    assert run.truth.requests.total() > 10_000
    assert run.truth.refused


def test_the_stream_knows_which_of_its_messages_are_refused(run: Run) -> None:
    assert sorted(run.truth.refused.values()) == sorted(m.reason for m in run.sent if m.reason)


def test_the_same_seed_gives_the_same_stream() -> None:
    first, second, other = (
        [m for step in islice(SyntheticStream(seed).steps(), 5) for m in step] for seed in (1, 1, 2)
    )
    assert first == second != other


def test_what_is_told_again_does_no_harm(run: Run) -> None:
    for role in ("hour_sketches", "detection_rates", "dead_letter"):
        assert run.differing(role, lambda records: [*records, records[-1]]) == set()


def test_a_part_that_is_lost_is_noticed(run: Run) -> None:
    assert run.differing("hour_sketches", lambda r: r[1:]) == {"sums of each hour, to the bit"}


def test_a_part_that_was_told_in_two_ways_is_noticed(run: Run) -> None:
    def forked(records: list[Incoming]) -> list[Incoming]:
        part = HourPart.from_bytes(records[0].value or b"")
        other = HourPart.from_bytes(records[1].value or b"")
        return [*records, records[0]._replace(value=_with_tally(part, other))]

    assert run.differing("hour_sketches", forked) == {"sums of each hour, to the bit"}


def _with_tally(part: HourPart, other: HourPart) -> bytes:
    return replace(part, tally=part.tally + other.tally).to_bytes()


def test_requests_that_count_twice_are_noticed(run: Run) -> None:
    def doubled(records: list[Incoming]) -> list[Incoming]:
        event = orjson.loads(records[-1].value or b"")
        event["data"]["requests"] *= 2
        return [*records, records[-1]._replace(value=orjson.dumps(event))]

    assert run.differing("detection_rates", doubled) == {
        "requests of each hour",
        "newest rates, to the byte",
    }


def test_a_dead_letter_too_many_and_one_too_few_are_noticed(run: Run) -> None:
    assert run.differing("dead_letter", lambda records: records[1:]) == {"dead letters"}


def test_a_message_that_never_arrived_is_noticed(run: Run) -> None:
    lost = run.differing("activations", lambda records: records[1:])
    assert lost == {"messages sent are in the input, once"}
