"""A lane: one model version on one partition, from decoded messages to alerts and hour parts.

Pure but for the state it holds: time comes with the rows. The same messages in the same order give
the same outputs, whatever the batches, flushes and restarts in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from latentwatch.detector import Baseline, Block, Decision, Monitor, Requests, SketchError
from latentwatch.detector.features import Float32, Int64
from latentwatch.detector.featuriser import NUMPY, Featuriser
from latentwatch.producers.wire import ActivationBatch
from latentwatch.stream.core.alerts import Alert, AlertTracker
from latentwatch.stream.core.client_alerts import ClientAlertTracker
from latentwatch.stream.core.events import AlertEvent
from latentwatch.stream.core.hours import HourAggregator, HourPart, Tally
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.state_codec import pack, reading, unpack

__all__ = ["Admitted", "AlertChange", "Lane", "LaneKey", "Output", "checked_rows", "requests_of"]


class LaneKey(NamedTuple):
    """What makes a lane."""

    model: str
    version: str
    partition: int


@dataclass(frozen=True, slots=True)
class AlertChange:
    """An alert that fired, was confirmed, or resolved."""

    key: LaneKey
    alert: Alert

    def event(self, average_run_length: float) -> AlertEvent:
        """The event that publishes it."""
        return self.alert.event(*self.key, average_run_length)


Output = AlertChange | HourPart


class Admitted(NamedTuple):
    """Checked rows of one message; `rows` and `predicted` are None where nobody judges them."""

    requests: Requests
    offset: int
    rows: Float32 | None
    predicted: Int64 | None
    clients: Sequence[str | None]


def requests_of(batch: ActivationBatch, offset: int, partition: int) -> Requests:
    """Who the rows of the message at an offset are."""
    return Requests(
        tuple(batch.request_ids),
        batch.event_time_ns.astype(np.int64),
        np.full(len(batch), offset, dtype=np.int64),
        tuple(batch.input_refs or (None,) * len(batch)),
        partition,
    )


def checked_rows(batch: ActivationBatch, baseline: Baseline) -> tuple[Float32, Int64]:
    """Raw rows and classes of a message, as `Baseline.rows` checks them.

    Raises
    ------
    detector.ActivationsError
        They do not fit the baseline.
    """
    # halves are widened where the layers are put side by side
    layers = {
        name: batch.float32(name) if name in batch.bfloat16 else batch.activations[name]
        for name in baseline.layer_names
        if name in batch.activations
    }
    return baseline.rows(layers, batch.predicted)


class Lane:
    """See the module.

    Parameters
    ----------
    key : LaneKey
    baseline : Baseline or None
        Without one the rows are counted, and not judged.
    policy : Policy
    featuriser : Featuriser
    """

    def __init__(
        self,
        key: LaneKey,
        baseline: Baseline | None,
        policy: Policy,
        featuriser: Featuriser = NUMPY,
    ) -> None:
        self.key, self.policy, self.featuriser = key, policy, featuriser
        self.last_offset = -1
        self.adopt(baseline)
        self.hours = HourAggregator(policy.allowed_lateness_ns)
        self.alerts = AlertTracker("/".join(map(str, key)), policy.resolve_after_requests)
        # for the metrics alone; not part of the state
        self.decisions = self.exceedances = 0
        self.newest: Decision | None = None
        self._parts = 0
        # rows of the unfinished block that an early close has counted already
        self._counted = 0
        # Parts since the state was last stored. The state carries them because they may not have
        # reached their topic, and what a wall clock closed is not closed the same way again.
        self._outbox: list[HourPart] = []
        # alerts of a baseline that was replaced: nothing else would ever resolve them
        self._abandoned: list[AlertChange] = []

    @property
    def has_baseline(self) -> bool:
        """Whether rows are judged."""
        return self.monitor is not None

    def adopt(self, baseline: Baseline | None) -> None:
        """Judge from the next row on."""
        self.monitor: Monitor | None = None
        self.extraction: ClientAlertTracker | None = None
        if baseline is not None:
            self.monitor = Monitor(
                baseline,
                average_run_length=self.policy.average_run_length,
                lanes=self.policy.lanes,
                partition=self.key.partition,
                featuriser=self.featuriser,
            )
            self.extraction = ClientAlertTracker(
                "/".join(map(str, self.key)), baseline, self.policy
            )

    def take(self, batch: ActivationBatch, offset: int) -> list[Output]:
        """Take in the message at `offset`; one that was taken before is skipped.

        Raises
        ------
        detector.ActivationsError
            The rows do not fit the baseline. The lane is left as it was.
        """
        admitted = self.admit(batch, offset)
        return self.take_admitted([admitted]) if admitted else []

    def admit(self, batch: ActivationBatch, offset: int) -> Admitted | None:
        """Check a message; None if it was taken before.

        Raises
        ------
        detector.ActivationsError
            The rows do not fit the baseline.
        """
        if offset <= self.last_offset:
            return None
        requests = requests_of(batch, offset, self.key.partition)
        clients = batch.clients or (None,) * len(batch)
        if self.monitor is None:
            return Admitted(requests, offset, None, None, clients)
        return Admitted(requests, offset, *checked_rows(batch, self.monitor.baseline), clients)

    def take_admitted(self, messages: Sequence[Admitted]) -> list[Output]:
        """Take messages in, in the order of their offsets; together they are decided faster."""
        outputs = []
        for judged, group in groupby(messages, key=lambda message: message.rows is not None):
            own = list(group)
            outputs += self._judge(own) if judged else self._count(own)
        self.last_offset = messages[-1].offset
        return outputs

    def _judge(self, messages: list[Admitted]) -> list[Output]:
        assert self.monitor  # or they would have been admitted without rows
        assert self.extraction
        rows = np.concatenate([m.rows for m in messages if m.rows is not None])
        predicted = np.concatenate([m.predicted for m in messages if m.predicted is not None])
        requests = Requests.join([m.requests for m in messages])
        clients = [client for m in messages for client in m.clients]
        found: list[tuple[int, Output]] = [
            (row, AlertChange(self.key, alert))
            for row, alert in self.extraction.take(rows, predicted, requests, clients)
        ]
        end = -self.monitor.unfinished
        for block, decision in self.monitor.push(rows, predicted, requests):
            end += len(block.features)
            emitted = self._finish(self.monitor.baseline, block, decision)
            found += [(end - 1, output) for output in emitted]
        # in the order of the rows that they come from, whatever the batches
        return [output for _, output in sorted(found, key=lambda pair: pair[0])]

    def _count(self, messages: list[Admitted]) -> list[Output]:
        outputs: list[Output] = []
        for message in messages:
            self.hours.count_unjudged(message.requests)
            newest = int(message.requests.event_time_ns.max())
            outputs += self._emit(self.hours.advance(newest))
        return outputs

    def _finish(self, baseline: Baseline, block: Block, decision: Decision) -> list[Output]:
        self.hours.count_block(block, self._counted, baseline)
        self._counted = 0
        self.newest = decision
        self.decisions += 1
        self.exceedances += int(decision.alarm)
        newest = int(block.requests.event_time_ns[-1])
        self.hours.count_window(newest, decision.alarm, baseline)
        outputs: list[Output] = []
        changed = self.alerts.judge(decision, baseline, len(block.features))
        if changed is not None:
            outputs.append(AlertChange(self.key, changed))
        outputs += self._emit(self.hours.advance(int(block.requests.event_time_ns.max())))
        return outputs

    def close(self) -> list[Output]:
        """Emit all that was counted, unfinished block included: the lane has fallen silent."""
        block = self.monitor.pending() if self.monitor else None
        if self.monitor and block and len(block.features) > self._counted:
            self.hours.count_block(block, self._counted, self.monitor.baseline)
            self._counted = len(block.features)
        return [*self._emit(self.hours.close_all())]

    def end(self, offset: int) -> list[Output]:
        """Close at an end-of-stream message; one that was taken before is skipped."""
        if offset <= self.last_offset:
            return []
        self.last_offset = offset
        return self.close()

    @property
    def has_pending(self) -> bool:
        """Whether `close` would emit anything."""
        return not self.hours.is_empty or (
            self.monitor is not None and self.monitor.unfinished > self._counted
        )

    def _emit(self, closed: list[tuple[int, str, Tally]]) -> list[HourPart]:
        parts = []
        for hour, baseline, tally in closed:
            model, version, partition = self.key
            parts.append(HourPart(model, version, partition, self._parts, hour, baseline, tally))
            self._parts += 1
        self._outbox += parts
        return parts

    def take_outbox(self) -> list[Output]:
        """Empty the outbox: what it held is published, or stored with the state."""
        outputs: list[Output] = [*self._abandoned, *self._outbox]
        self._abandoned, self._outbox = [], []
        return outputs

    def to_bytes(self) -> bytes:
        """State from which `from_bytes` continues elsewhere."""
        header = {
            "key": list(self.key),
            "last_offset": self.last_offset,
            "parts": self._parts,
            "counted": self._counted,
            "alerts": self.alerts.to_state(),
            "extraction": self.extraction.to_state() if self.extraction else None,
        }
        monitor = self.monitor.state_bytes() if self.monitor else b""
        clients = self.extraction.monitor.state_bytes() if self.extraction else b""
        outbox = [part.to_bytes() for part in self._outbox]
        return pack(header, [self.hours.to_bytes(), monitor, clients, *outbox])

    @staticmethod
    def key_of(data: bytes) -> LaneKey:
        """The lane that a state belongs to."""
        with reading(data):
            model, version, partition = unpack(data)[0]["key"]
            return LaneKey(model, version, partition)

    @staticmethod
    def offset_of(data: bytes) -> int:
        """Offset of the last message that a state has taken in."""
        with reading(data):
            return int(unpack(data)[0]["last_offset"])

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        baseline: Baseline | None,
        policy: Policy,
        featuriser: Featuriser = NUMPY,
    ) -> Lane:
        """Inverse of `to_bytes`.

        If the baseline has changed, windows start empty, rows of the old unfinished block are
        counted as not judged, so that no count is lost, and the alerts are resolved.

        Raises
        ------
        StateError
            The bytes are damaged.
        """
        with reading(data):
            return cls._restored(data, baseline, policy, featuriser)

    @classmethod
    def _restored(
        cls, data: bytes, baseline: Baseline | None, policy: Policy, featuriser: Featuriser
    ) -> Lane:
        header, (hours, monitor, clients, *outbox) = unpack(data)
        lane = cls(LaneKey(*header["key"]), baseline, policy, featuriser)
        lane.last_offset = header["last_offset"]
        lane.hours.load(hours)
        lane._parts = header["parts"]
        lane._outbox = [HourPart.from_bytes(part) for part in outbox]
        lane.alerts.load(header["alerts"])
        if monitor and not lane._resume(monitor, clients, header):
            unfinished = Monitor.unfinished_requests(monitor).take(slice(header["counted"], None))
            if unfinished.request_ids:
                lane.hours.count_unjudged(unfinished)
            lane._abandon(header)
        return lane

    def _resume(self, monitor: bytes, clients: bytes, header: dict[str, Any]) -> bool:
        """Continue the windows and the clients of a state, if they are of our baseline."""
        if self.monitor is None or self.extraction is None:
            return False
        try:
            self.monitor = Monitor.restore(
                self.monitor.baseline,
                monitor,
                average_run_length=self.policy.average_run_length,
                lanes=self.policy.lanes,
                featuriser=self.featuriser,
            )
            self.extraction.load(header["extraction"], clients)
        except SketchError:
            self.adopt(self.monitor.baseline)
            return False
        self._counted = header["counted"]
        return True

    def _abandon(self, header: dict[str, Any]) -> None:
        """Resolve the alerts of a baseline that was replaced."""
        about_windows = self.alerts.resolve()
        alerts = [about_windows] if about_windows is not None else []
        alerts += ClientAlertTracker.resolved(header["extraction"])
        self._abandoned = [AlertChange(self.key, alert) for alert in alerts]
