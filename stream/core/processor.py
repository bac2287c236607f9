"""Messages of the activations topic in, records of the output topics out; no Kafka in here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import structlog

from latentwatch.detector import ActivationsError, DimensionError, NotFiniteError, UnseenClassError
from latentwatch.detector.featuriser import NUMPY, Featuriser
from latentwatch.producers.wire import (
    ActivationBatch,
    EndOfStream,
    Limits,
    Reason,
    WireError,
    decode,
    read_end,
)
from latentwatch.stream.core.errors import StateError
from latentwatch.stream.core.events import DeadLetter, Record
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import Admitted, Lane, LaneKey, Output
from latentwatch.stream.core.observer import LaneReport, Observer
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.rates import FindBaseline
from latentwatch.stream.core.topic_names import Topics

__all__ = ["REFUSALS", "Incoming", "Processor", "RefusedError"]

_log = structlog.get_logger("latentwatch.worker")

MOST_LANES = 256
"""Lanes without a baseline of one partition; names beyond them are refused, they cost memory."""

MOST_WAITING = 1024
"""Requests of a lane that are decided together; more would not fit into the processor's cache."""


MOST_READY = 512
"""Records from which on they are published before more messages are taken."""


class Incoming(NamedTuple):
    """One message as Kafka gave it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class RefusedError(Exception):
    """A message that goes to the dead-letter topic; `reason` is a short, stable word."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Processor:
    """The lanes of the partitions that this worker owns.

    Parameters
    ----------
    topics : Topics
    find_baseline : callable of (model, version)
        The baseline that judges a model version, or None.
    policy : Policy
    limits : Limits
        What a message may claim at most.
    newest_ns : callable
        Event times later than what it returns are refused.
    is_known : callable of (model, version), optional
        Whether a baseline is in place: such a model version always gets its lane.
    featuriser : Featuriser
        What executes the feature maps of all baselines.
    observer : Observer, optional
        Called for everything that happens.
    """

    def __init__(
        self,
        topics: Topics,
        find_baseline: FindBaseline,
        policy: Policy,
        *,
        limits: Limits,
        newest_ns: Callable[[], int],
        is_known: Callable[[str, str], bool] = lambda *_: False,
        featuriser: Featuriser = NUMPY,
        observer: Observer | None = None,
    ) -> None:
        self._topics, self._find_baseline, self._policy = topics, find_baseline, policy
        self._limits, self._newest_ns, self._is_known = limits, newest_ns, is_known
        self._featuriser = featuriser
        self._observer = observer or Observer()
        self._lanes: dict[int, dict[tuple[str, str], Lane]] = {}
        self._touched: set[LaneKey] = set()
        self._carrying: set[LaneKey] = set()
        self._waiting: dict[LaneKey, list[Admitted]] = {}
        self._ready: list[Record] = []

    @property
    def partitions(self) -> set[int]:
        """Partitions whose lanes are here."""
        return set(self._lanes)

    def assign(self, partition: int, states: Iterable[bytes]) -> list[Record]:
        """Take over a partition; return what, by its states, may not have been published."""
        lanes = {}
        records: list[Record] = []
        for state in states:
            key = Lane.key_of(state)
            baseline = self._find_baseline(key.model, key.version)
            try:
                lane = Lane.from_bytes(state, baseline, self._policy, self._featuriser)
            except StateError as error:
                # the partition must be taken over all the same, now and at every restart
                _log.error(
                    "lane state is damaged, starting with an empty lane", lane=key, error=str(error)
                )
                continue
            lanes[key.model, key.version] = lane
            self._observer.lane(LaneReport.of(lane))
            if outbox := lane.take_outbox():
                records += self._records(outbox)
                self._touched.add(key)
        self._lanes[partition] = lanes
        return records

    def revoke(self, partition: int) -> None:
        """Forget a partition: another worker has it."""
        self._lanes.pop(partition, None)
        self._observer.revoked(partition)
        self._touched = {key for key in self._touched if key.partition != partition}

    def take(self, messages: Iterable[Incoming]) -> list[Record]:
        """Take messages in, in offset order within each partition; return what to publish."""
        records, left = self.take_some(list(messages))
        while left:
            more, left = self.take_some(left)
            records += more
        return records

    def take_some(self, messages: list[Incoming]) -> tuple[list[Record], list[Incoming]]:
        """Take messages in until much is to be published; return that, and the messages left.

        Rows of many hours that closed long ago make a part of an hour each. A lane's state carries
        them until it is stored, and has to fit into a message.
        """
        left = iter(messages)
        for message in left:
            try:
                self._take(message)
            except RefusedError as refused:
                letter = DeadLetter(
                    topic=self._topics.activations,
                    **message._asdict(),
                    reason=refused.reason,
                    detail=str(refused),
                )
                self._ready.append(letter.to_record(self._topics, self._limits.value_bytes))
                self._observer.refused(refused.reason)
            if len(self._ready) >= MOST_READY:
                break
        return self.process(), list(left)

    def _take(self, message: Incoming) -> None:
        try:
            end = read_end(message.headers, limits=self._limits)
            if end is not None:
                self._end(end, message)
                return
            batch = decode(
                message.value or b"", message.headers, key=message.key, limits=self._limits
            )
        except WireError as error:
            raise RefusedError(str(error.reason), error.detail) from error
        self.admit(message.partition, message.offset, batch)

    def admit(self, partition: int, offset: int, batch: ActivationBatch) -> None:
        """Check the rows of one message, and have them ready for `process`.

        Raises
        ------
        RefusedError
            They do not fit the baseline, come from the future, or are of one model too many.
        """
        lane = self._lane(partition, batch)
        if not lane.has_baseline:
            baseline = self._find_baseline(batch.model, batch.version)
            if baseline is not None:
                lane.adopt(baseline)
        waiting = self._waiting.setdefault(lane.key, [])
        if waiting and offset <= waiting[-1].offset:
            return
        try:
            admitted = lane.admit(batch, offset)
        except ActivationsError as error:
            raise RefusedError(_REASONS.get(type(error), "bad-shape"), str(error)) from error
        self._touched.add(lane.key)
        if admitted:
            waiting.append(admitted)
        if sum(len(message.requests.request_ids) for message in waiting) >= MOST_WAITING:
            self._process(lane)

    def process(self) -> list[Record]:
        """Decide on what was admitted; return what to publish."""
        for key in list(self._waiting):
            self._process(self._lanes[key.partition][key.model, key.version])
        ready, self._ready = self._ready, []
        return ready

    def _process(self, lane: Lane) -> None:
        waiting = self._waiting.pop(lane.key, None)
        if waiting:
            rows = sum(len(message.requests.request_ids) for message in waiting)
            before = {"decisions": lane.decisions, "exceedances": lane.exceedances}
            self._ready += self._records(lane.take_admitted(waiting))
            self._observer.lane(LaneReport.of(lane, rows=rows, **before))

    def _lane(self, partition: int, batch: ActivationBatch) -> Lane:
        newest = self._newest_ns()
        if int(batch.event_time_ns.max()) > newest:
            raise RefusedError("bad-time", "an event time lies in the future: check the clocks")
        lanes = self._lanes.setdefault(partition, {})
        name = (batch.model, batch.version)
        if name not in lanes:
            nameless = sum(not lane.has_baseline for lane in lanes.values())
            if nameless >= MOST_LANES and not self._is_known(*name):
                raise RefusedError(
                    "too-many-lanes",
                    f"partition {partition} has {MOST_LANES} model versions without a baseline "
                    "already: put one in place, and the worker finds it within a minute",
                )
            key = LaneKey(*name, partition)
            lanes[name] = Lane(key, self._find_baseline(*name), self._policy, self._featuriser)
        return lanes[name]

    def _end(self, end: EndOfStream, message: Incoming) -> None:
        lane = self._lanes.get(message.partition, {}).get((end.model, end.version))
        if lane is not None:
            self._process(lane)
            self._touched.add(lane.key)
            self._ready += self._records(lane.end(message.offset))

    def idle(self, partition: int, model: str, version: str) -> list[Record]:
        """Close the open hours of a lane that has fallen silent."""
        lane = self._lanes.get(partition, {}).get((model, version))
        if lane is None:
            return []
        self._touched.add(lane.key)
        return self._records(lane.close())

    def pending(self) -> list[LaneKey]:
        """Lanes with counted requests that are not emitted yet."""
        return [
            lane.key
            for lanes in self._lanes.values()
            for lane in lanes.values()
            if lane.has_pending
        ]

    def emitted(self) -> None:
        """Take note that the parts of hours are published: states no longer carry them."""
        for key in self._touched:
            self._lanes[key.partition][key.model, key.version].take_outbox()

    def states(self) -> dict[LaneKey, bytes]:
        """States of the lanes that changed since the last call.

        A state that carries parts of hours counts as changed once more: after they are published,
        it is stored without them, see `carrying`.
        """
        changed, carrying = {}, set()
        for key in sorted(self._touched):
            lane = self._lanes[key.partition][key.model, key.version]
            changed[key] = lane.to_bytes()
            if lane.take_outbox():
                carrying.add(key)
        self._touched, self._carrying = carrying, set(carrying)
        return changed

    def carrying(self) -> list[LaneKey]:
        """Lanes whose stored state carries parts of hours that were published since.

        Too long after, a take-over would publish such a part again when its hour is forgotten.
        """
        return sorted(self._carrying & self._touched)

    def _records(self, outputs: Iterable[Output]) -> list[Record]:
        return [self._record(output) for output in outputs]

    def _record(self, output: Output) -> Record:
        if isinstance(output, HourPart):
            self._observer.late(output.tally.late)
            return output.to_record(self._topics)
        self._observer.alert(output)
        return output.event(self._policy.average_run_length).to_record(self._topics)


_REASONS = {
    DimensionError: "bad-dimension",
    NotFiniteError: "not-finite",
    UnseenClassError: "bad-class",
}

REFUSALS = frozenset({*Reason, *_REASONS.values(), "bad-shape", "bad-time", "too-many-lanes"})
"""Every reason that a dead letter may give."""
