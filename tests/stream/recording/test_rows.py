"""The promise of a recording: what was written comes back, to the bit, however it was flushed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from latentwatch.stream.recording import Flush, RecordedMessage, Recording
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.rows import tables_of
from latentwatch.stream.recording.writer import RecordingWriter
from tests.stream.recording.examples import by_partition, fresh_url, message, plain, record, streams


@given(streams(), st.sampled_from([1, 60, 10**9]), st.sets(st.integers(0, 9)), st.data())
@settings(max_examples=100, deadline=None)
def test_every_message_comes_back_once_in_order_and_to_the_bit(
    stream: list[RecordedMessage], most_bytes: int, flushes: set[int], data: st.DataObject
) -> None:
    url = fresh_url()
    writer = RecordingWriter(RecordingFiles(url), most_bytes=most_bytes, most_seconds=1e9)
    for number, one in enumerate(stream):
        writer.add(one, now=0.0)
        if number in flushes:
            writer.flush(data.draw(st.integers(0, 2)))
    writer.flush_all()

    back = list(Recording(url).messages())

    assert by_partition(back) == by_partition(stream)
    assert writer.written.rows == sum(len(one.batch) for one in stream)


@given(streams(most=6))
@settings(max_examples=30, deadline=None)
def test_what_was_read_back_is_recorded_as_the_same_again(stream: list[RecordedMessage]) -> None:
    first, second = fresh_url(), fresh_url()
    record(first, stream)

    back = list(Recording(first).messages())
    record(second, back)

    assert by_partition(Recording(second).messages()) == by_partition(back)


def test_rows_of_a_message_lie_in_the_folders_of_their_hours() -> None:
    one = message(0, rows=4, minute=58)  # 10:58, 10:59, 11:00, 11:01

    tables = tables_of(Flush(0, 0, 1), [one])

    assert {place.path: table["row"].to_pylist() for place, table in tables.items()} == {
        "model=resnet/version=7/hour=2025-12-29T10/"
        "p00000-00000000000000000000-00000000000000000001.parquet": [0, 1],
        "model=resnet/version=7/hour=2025-12-29T11/"
        "p00000-00000000000000000000-00000000000000000001.parquet": [2, 3],
    }


def test_rows_out_of_order_in_time_return_to_their_places() -> None:
    whole = message(0, rows=6, minute=57)
    shuffled = whole.batch.event_time_ns[[3, 0, 5, 1, 4, 2]]
    mixed = message(0, rows=6, event_time_ns=shuffled)
    url = fresh_url()
    record(url, [mixed])

    (back,) = Recording(url).messages()

    assert len(Recording(url).places) == 2
    assert plain(back) == plain(mixed)


def test_messages_with_other_layers_share_a_flush_but_no_file() -> None:
    wide = message(0)
    narrow = message(1, activations={"layer4": wide.batch.activations["layer4"]})

    tables = tables_of(Flush(0, 0, 3), [wide, narrow, message(2)])

    variants = {
        place.variant: table["offset"].unique().to_pylist() for place, table in tables.items()
    }
    assert variants == {0: [0, 2], 1: [1]}
