"""Files appear whole or not at all, and say where a recorder resumes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.recording import FilePlace, Flush, RecordedMessage, Recording
from latentwatch.stream.recording.files import UNFINISHED, RecordingFiles
from latentwatch.stream.recording.rows import tables_of
from tests.stream.recording.examples import by_partition, fresh_url, message, plain, record, streams

ROOT = Path(__file__).parents[3]
LATE = 58
"""Minute of the hour after which the rows of a message lie in two hours."""


def write_part(url: str, flush: Flush, messages: Iterable[RecordedMessage], files: int) -> int:
    """Write the first files of a flush, as a recorder that is killed then; how many it has."""
    tables = list(tables_of(flush, messages).items())
    for place, table in tables[:files]:
        RecordingFiles(url).write(place, table)
    return len(tables)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@given(streams(most=8), st.integers(0, 7), st.integers(0, 9), st.sampled_from([1, 20, 10**9]))
@settings(max_examples=80, deadline=None)
def test_a_flush_that_was_killed_anywhere_is_neither_lost_nor_double(
    stream: list[RecordedMessage], before: int, files: int, most_bytes: int
) -> None:
    url = fresh_url()
    victim = stream[-1].partition
    recorded = stream[:before]
    pending = [one for one in stream[before:] if one.partition == victim]
    record(url, recorded)
    if pending:
        flush = Flush(victim, pending[0].offset, pending[-1].offset + 1)
        in_all = write_part(url, flush, pending, files)

    positions = RecordingFiles(url).recover()
    rest = [one for one in stream if one.offset >= positions.get(one.partition, 0)]
    record(url, rest, most_bytes=most_bytes)

    assert by_partition(Recording(url).messages()) == by_partition(stream)
    if pending and files >= in_all:
        assert positions[victim] == pending[-1].offset + 1


def test_every_partition_goes_on_where_its_own_files_end() -> None:
    url = fresh_url()
    record(url, [message(4), message(90, partition=2), message(5), message(91, partition=2)])

    assert RecordingFiles(url).recover() == {0: 6, 2: 92}


def test_nothing_is_recorded_where_there_is_no_folder(tmp_path: Path) -> None:
    files = RecordingFiles(str(tmp_path / "none"))

    assert files.recover() == {}
    assert files.places() == []
    assert not (tmp_path / "none").exists()


def test_half_a_file_is_no_file_and_goes_when_the_recorder_returns(tmp_path: Path) -> None:
    record(str(tmp_path), [message(0)])
    (place,) = RecordingFiles(str(tmp_path)).places()
    whole = (tmp_path / place.path).read_bytes()
    half = tmp_path / f"{FilePlace('resnet', '7', place.hour, Flush(0, 1, 2)).path}{UNFINISHED}"
    half.write_bytes(whole[:100])

    assert [plain(one) for one in Recording(str(tmp_path)).messages()] == [plain(message(0))]
    assert RecordingFiles(str(tmp_path)).recover() == {0: 1}
    assert files_in(tmp_path) == {place.path}


def test_a_recorder_leaves_alone_what_others_write_of_other_partitions(tmp_path: Path) -> None:
    url = str(tmp_path)
    record(url, [message(0)])
    write_part(url, Flush(1, 0, 1), [message(0, partition=1, minute=LATE)], files=1)
    other = FilePlace("resnet", "7", 490_834, Flush(1, 0, 1), 1).path
    (tmp_path / f"{other}{UNFINISHED}").write_bytes(b"PAR1")
    before = files_in(tmp_path)

    assert RecordingFiles(url).recover(partitions=[0, 5]) == {0: 1}
    assert files_in(tmp_path) == before
    assert RecordingFiles(url).recover(partitions=[1]) == {1: 0}
    assert len(files_in(tmp_path)) == 1


def test_deleting_old_hours_leaves_the_position(tmp_path: Path) -> None:
    url = str(tmp_path)
    record(url, [message(0, minute=65), message(1, minute=LATE)])
    version = tmp_path / "model=resnet" / "version=7"
    shutil.rmtree(version / "hour=2025-12-29T10")

    assert RecordingFiles(url).recover() == {0: 2}
    assert Recording(url).requests()["offset"].to_pylist() == [1, 1, 0, 0, 0, 0]
    shutil.rmtree(version)
    assert RecordingFiles(url).recover() == {}


def test_foreign_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    url = str(tmp_path)
    record(url, [message(0)])
    (place,) = RecordingFiles(url).places()
    name = Path(place.path).name
    for stray in (
        "notes.parquet",
        f"backup/{place.path}",
        f"model=resnet/version=7/hour=2025-13-01T00/{name}",
        f"model=resnet/version=7/hour=2025-12-29T9/{name}",
        f"{place.path}.crc",
        f"notes.parquet{UNFINISHED}",
    ):
        (tmp_path / stray).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stray).write_bytes(b"not ours")
    before = files_in(tmp_path)

    assert RecordingFiles(url).recover() == {0: 1}
    assert len(Recording(url)) == 4
    assert files_in(tmp_path) == before


def test_a_folder_in_memory_is_like_a_local_one(tmp_path: Path) -> None:
    memory, local = fresh_url(), f"file://{tmp_path}/"
    for url in (memory, local):
        record(url, [message(0, minute=LATE), message(3, partition=1)])
        write_part(url, Flush(0, 1, 2), [message(1, minute=LATE)], files=1)

    assert RecordingFiles(memory).places() == RecordingFiles(local).places()
    assert len(RecordingFiles(memory).places()) == 4
    assert RecordingFiles(memory).recover() == RecordingFiles(local).recover() == {0: 1, 1: 4}
    assert by_partition(Recording(memory).messages()) == by_partition(Recording(local).messages())
    assert files_in(tmp_path) == {place.path for place in RecordingFiles(memory).places()}


def test_a_file_is_where_its_path_says() -> None:
    place = FilePlace("vit.b-16", "1.0", 490_834, Flush(123_456, 0, 10**13), 2)

    assert place.path == (
        "model=vit.b-16/version=1.0/hour=2025-12-29T10/"
        "p123456-00000000000000000000-00000010000000000000-2.parquet"
    )
    assert FilePlace.parse(place.path) == place


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_damaged_newest_file_stops_the_recorder(tmp_path: Path, share: float) -> None:
    record(str(tmp_path), [message(0)])
    (place,) = RecordingFiles(str(tmp_path)).places()
    path = tmp_path / place.path
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(RecordingError, match="cut short; copy it again") as failure:
        RecordingFiles(str(tmp_path)).recover()
    assert str(failure.value).startswith(str(path))


KILLED = """
import sys
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter
from tests.stream.recording.examples import message

files = RecordingFiles(sys.argv[1])
writer = RecordingWriter(files, most_bytes=int(sys.argv[3]), most_seconds=1e9)
first, end = files.recover().get(0, 0), int(sys.argv[2])
print("from", first, flush=True)
for offset in range(first, end):
    writer.add(message(offset, rows=16, minute=52), now=0.0)
writer.flush_all()
"""


def start_recorder(folder: Path, end: int, most_bytes: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", KILLED, str(folder), str(end), str(most_bytes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, bufsize=1
    )


def kill_soon(folder: Path, files: int) -> int:
    """Start a recorder, kill it when it has written some files; where it began."""
    with start_recorder(folder, 10**9, most_bytes=1500 + files) as process:
        assert process.stdout is not None
        begun = int(process.stdout.readline().split()[1])
        enough = len(list(folder.rglob("*.parquet*"))) + files
        while len(list(folder.rglob("*.parquet*"))) < enough:
            assert process.poll() is None
        process.kill()
    return begun


def test_a_recorder_that_is_killed_while_it_writes_goes_on_exactly(tmp_path: Path) -> None:
    begun = [kill_soon(tmp_path, files) for files in (7, 10)]
    end = max(place.flush.next for place in RecordingFiles(str(tmp_path)).places()) + 20
    with start_recorder(tmp_path, end, most_bytes=700) as process:
        assert process.wait() == 0

    back = [plain(one) for one in Recording(str(tmp_path)).messages()]

    assert 0 == begun[0] < begun[1] < end
    assert back == [plain(message(offset, rows=16, minute=52)) for offset in range(end)]
    assert not list(tmp_path.rglob(f"*{UNFINISHED}"))


def test_files_without_a_column_of_clients_are_read_as_if_nobody_were_known() -> None:
    url = fresh_url()
    files = RecordingFiles(url)
    one = message(0)
    ((place, table),) = tables_of(Flush(0, 0, 1), [one]).items()
    files.write(place, table.drop_columns(["client"]))
    recording = Recording(url)
    assert [plain(found) for found in recording.messages()] == [plain(one)]
    assert recording.requests()["client"].null_count == 4
