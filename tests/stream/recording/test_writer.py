"""When files are written: a partition that is full, one that has waited, or all of them."""

from pathlib import Path

from latentwatch.stream.recording import Flush, Recording
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter
from tests.stream.recording.examples import fresh_url, message

BYTES = 4 * (3 + 5) * 2
"""Of the activations of one message."""


def writer_of(url: str, *, most_bytes: int = 1 << 40, most_seconds: float = 1e9) -> RecordingWriter:
    return RecordingWriter(RecordingFiles(url), most_bytes=most_bytes, most_seconds=most_seconds)


def flushes(url: str) -> list[Flush]:
    return [place.flush for place in RecordingFiles(url).places()]


def test_a_partition_is_written_when_it_holds_enough() -> None:
    url = fresh_url()
    writer = writer_of(url, most_bytes=3 * BYTES)

    for offset in range(7):
        writer.add(message(offset), now=0.0)
        writer.add(message(offset, partition=1, activations={}), now=0.0)

    assert flushes(url) == [Flush(0, 0, 3), Flush(0, 3, 6)]


def test_a_partition_is_written_when_its_oldest_message_has_waited() -> None:
    url = fresh_url()
    writer = writer_of(url, most_seconds=60)
    writer.add(message(0), now=100.0)
    writer.add(message(0, partition=1), now=130.0)
    writer.add(message(1), now=159.0)

    writer.flush_old(now=159.9)
    assert flushes(url) == []
    writer.flush_old(now=160.0)
    assert flushes(url) == [Flush(0, 0, 2)]
    writer.add(message(2), now=161.0)
    writer.flush_old(now=190.0)
    assert flushes(url) == [Flush(0, 0, 2), Flush(1, 0, 1)]


def test_what_is_passed_over_counts_as_recorded_with_what_came_before() -> None:
    url = fresh_url()
    writer = writer_of(url)
    writer.pass_over(0, 0)
    writer.add(message(5), now=0.0)
    writer.pass_over(0, 6)
    writer.pass_over(0, 7)

    writer.flush_all()
    writer.pass_over(0, 8)
    writer.flush_all()

    assert flushes(url) == [Flush(0, 5, 8)]
    assert RecordingFiles(url).recover() == {0: 8}


def test_a_flush_without_messages_writes_nothing(tmp_path: Path) -> None:
    writer = writer_of(str(tmp_path / "recording"))

    writer.flush(3)
    writer.flush_old(now=1e12)
    writer.flush_all()

    assert not (tmp_path / "recording").exists()


def test_the_writer_counts_what_it_wrote(tmp_path: Path) -> None:
    writer = writer_of(str(tmp_path))
    writer.add(message(0, minute=58), now=0.0)
    writer.add(message(1, minute=58), now=0.0)
    assert writer.written.files == 0

    writer.flush_all()

    sizes = [path.stat().st_size for path in tmp_path.rglob("*.parquet")]
    written = writer.written
    assert (written.files, written.rows, written.bytes) == (2, 8, sum(sizes))
    assert len(Recording(str(tmp_path))) == 8
