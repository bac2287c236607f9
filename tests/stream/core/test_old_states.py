"""States that earlier versions stored are read, and lead to the same events."""

from pathlib import Path

import orjson

from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import AlertChange, Lane, LaneKey
from latentwatch.stream.core.policy import Policy

STATES = Path(__file__).parent / "states"
POLICY = Policy(average_run_length=1000, resolve_after_requests=640, allowed_lateness_ns=0)


def test_a_state_of_version_0_1_0_is_read() -> None:
    """It holds a firing alert of a window, one about a client, and a part of an hour to emit."""
    state = STATES.joinpath("lane-0.1.0.bin").read_bytes()
    assert state.startswith(b"LWF1")
    assert (Lane.key_of(state), Lane.offset_of(state)) == (LaneKey("m", "1", 2), 22)
    lane = Lane.from_bytes(state, None, POLICY)
    *alerts, part = lane.take_outbox()
    assert isinstance(part, HourPart)
    assert part.tally.sketch.rows == 320
    found = [a.event(1000.0).data() for a in alerts if isinstance(a, AlertChange)]
    expected = STATES.joinpath("lane-0.1.0.jsonl").read_bytes().splitlines()
    assert len(found) == len(expected) == 2
    for event, line in zip(found, expected, strict=True):
        assert event | {"software_version": "0.1.0"} == orjson.loads(line)
