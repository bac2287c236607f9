"""What must hold of every message whatsoever, from its bytes to the records it leads to.

`judge` raises on the unexpected: an exception that is not a refusal, an accepted message that
breaks a promise, a refused one that leaves a trace.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from latentwatch.detector import Baseline
from latentwatch.producers.wire import Limits, WireError, decode, encode
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.processor import REFUSALS, Incoming, Processor
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.settings import Settings

__all__ = ["CLASSES", "LAYERS", "NOW_NS", "baseline", "judge", "make_processor"]

TOPICS = Settings().topics()
LAYERS = {"early": 3, "deep": 6}
CLASSES = 2
NOW_NS = 490_000 * HOUR_NS


@cache
def baseline() -> Baseline:
    """The baseline of signs/1, fitted in half a second."""
    rng = np.random.default_rng(0)
    return Baseline.fit(
        {name: rng.standard_normal((600, width)) for name, width in LAYERS.items()},
        np.arange(600) % CLASSES,
        model="signs",
        version="1",
        longest_window=64,
        random_features=32,
        simulated_requests=20_000,
    )


def make_processor() -> Processor:
    """A processor that knows signs/1 alone; its clock stands at `NOW_NS`."""
    return Processor(
        TOPICS,
        lambda model, version: baseline() if (model, version) == ("signs", "1") else None,
        Policy(average_run_length=100_000, resolve_after_requests=64),
        limits=Limits(),
        newest_ns=lambda: NOW_NS,
    )


def judge(message: Incoming) -> str:
    """Take a message in; return why it was refused, or "taken" or "end".

    Raises
    ------
    Exception
        It is an escape.
    """
    sound = _decodes(message)
    processor = make_processor()
    records = processor.take([message])
    letters = [record for record in records if record.topic == TOPICS.dead_letter]
    if letters:
        (letter,) = records
        reason = dict(letter.headers[len(message.headers) :])["latentwatch-reason"].decode()
        assert reason in REFUSALS, reason
        assert letter.value == message.value
        assert letter.headers[: len(message.headers)] == message.headers
        assert processor.states() == {}, "a refused message left a trace"
        return reason
    if not sound:
        return "end"
    # what was taken is not taken again, and the worker that takes over has the same state
    assert processor.take([message]) == []
    states = processor.states()
    other = make_processor()
    other.assign(message.partition, states.values())
    assert list(other.states()) in ([], list(states))
    return "taken"


def _decodes(message: Incoming) -> bool:
    """Whether the decoder accepts it; then it must hold what the format promises, and come back."""
    try:
        batch = decode(message.value, message.headers, key=message.key)
    except WireError:
        return False
    limits = Limits()
    assert 1 <= len(batch) <= limits.rows
    assert len(set(batch.request_ids)) == len(batch) == len(batch.predicted)
    assert (batch.predicted >= 0).all()
    assert batch.event_time_ns.min() >= limits.earliest_ns
    assert batch.event_time_ns.max() < limits.latest_ns
    for name, array in batch.activations.items():
        assert array.shape[0] == len(batch)
        assert np.isfinite(batch.float32(name)).all()
    key, value, headers = encode(batch)
    again = decode(value, headers, key=key)
    assert encode(again) == (key, value, headers)
    return True
