"""From events to a recording: large events are cut, and no recording is lost by accident."""

from pathlib import Path

import numpy as np
import pytest

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.importers import Event, Summary, write_recording
from latentwatch.stream.recording import Recording

TIME_NS = 1_767_607_200 * 10**9


def event(name: str, rows: int = 2, width: int = 3, time_ns: int = TIME_NS) -> Event:
    seed = [rows, width, len(name)]
    values = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return Event(
        place=f"file:{name}",
        time_ns=time_ns,
        event_id=name,
        source="/test",
        request_ids=tuple(f"{name}/{row}" for row in range(rows)),
        layers={"deep": values},
        predicted=np.arange(rows) % 2,
    )


def test_an_event_beyond_what_a_message_may_hold_is_cut(tmp_path: Path) -> None:
    """By its rows, and by its bytes; every value is kept, and each part has an id of its own."""
    many, wide = event("many", rows=2050), event("wide", rows=40, width=60_000, time_ns=TIME_NS + 1)
    url = str(tmp_path / "many")
    assert write_recording([many], url, model="m", version="1").messages == 3
    recording = Recording(url)
    assert recording.array("deep").tobytes() == many.layers["deep"].tobytes()
    sizes = {message.batch.event_id: len(message.batch) for message in recording.messages()}
    assert sizes == {"many": 1024, "many/1024": 1024, "many/2048": 2}
    url = str(tmp_path / "wide")
    assert write_recording([wide], url, model="m", version="1").messages == 2
    assert Recording(url).array("deep").tobytes() == wide.layers["deep"].tobytes()


def test_a_recording_is_replaced_only_by_force_and_nothing_else_is_removed(tmp_path: Path) -> None:
    url = str(tmp_path)
    write_recording([event("old", time_ns=TIME_NS - 3_600 * 10**9)], url, model="m", version="1")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model=m" / "foreign.parquet").write_text("mine too")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RecordingError, match="replace that recording with --force"):
        write_recording([event("new")], url, model="m", version="1")
    with pytest.raises(RecordingError, match="there is nothing to read"):
        write_recording([], url, model="m", version="1", force=True)
    assert sorted(tmp_path.rglob("*")) == before
    write_recording([event("new")], url, model="n", version="2", force=True)
    assert Recording(url).models == [("n", "2")]
    assert Recording(url).requests()["request_id"].to_pylist() == ["new/0", "new/1"]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "model=m" / "foreign.parquet").read_text() == "mine too"


def test_a_recording_is_written_to_any_file_system() -> None:
    url = "memory://imported"
    events = [event("b", time_ns=TIME_NS + 1), event("a")]
    write_recording(events, url, model="m", version="1")
    ids = Recording(url).requests()["request_id"].to_pylist()
    assert ids == ["a/0", "a/1", "b/0", "b/1"]
    write_recording([event("c")], url, model="m", version="1", force=True)
    assert Recording(url).requests()["request_id"].to_pylist() == ["c/0", "c/1"]


def test_an_id_that_was_refused_may_come_again(tmp_path: Path) -> None:
    """Only requests that were imported make a later one of their id a double."""
    broken, whole = event("a"), event("a", time_ns=TIME_NS + 1)
    broken.layers["deep"][0, 0] = np.inf
    summary = Summary()
    write_recording([whole, broken], str(tmp_path), model="m", version="1", summary=summary)
    assert {reason: found.count for reason, found in summary.skipped.items()} == {
        "not finite": 1,
        "double id": 1,
    }
    recording = Recording(str(tmp_path))
    assert recording.event_time_ns().tolist() == [TIME_NS, TIME_NS + 1]
    assert recording.requests()["request_id"].to_pylist() == ["a/1", "a/0"]
