"""A recording in a notebook: its parts, its arrays, and what it says when something is missing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.recording import Flush, RecordedMessage, Recording, Selection
from latentwatch.stream.recording.files import RecordingFiles
from tests.stream.recording.examples import START_NS, fresh_url, message, record

MINUTE_NS = 60 * 10**9


def rows_of(messages: list[RecordedMessage], wanted: Selection) -> list[tuple[Any, ...]]:
    """What a selection must find, one row at a time: when, where, and the activations."""
    return sorted(
        (int(time), one.partition, one.offset, row, one.batch.request_ids[row])
        for one in messages
        for row, time in enumerate(one.batch.event_time_ns)
        if wanted.model in (None, one.batch.model)
        and wanted.version in (None, one.batch.version)
        and (wanted.since_ns is None or time >= wanted.since_ns)
        and (wanted.until_ns is None or time < wanted.until_ns)
        and (wanted.request_ids is None or one.batch.request_ids[row] in wanted.request_ids)
        and (wanted.flush is None or wanted.flush.partition == one.partition)
        and (wanted.flush is None or wanted.flush.first <= one.offset < wanted.flush.next)
    )


TRAFFIC = [
    message(offset, rows=6, partition=partition, minute=minute, model=model, version=version)
    for offset, partition, minute, model, version in [
        (0, 0, 0, "resnet", "7"),
        (1, 0, 57, "resnet", "7"),
        (2, 0, 54, "vit", "7"),
        (5, 1, 56.5, "resnet", "7"),
        (6, 1, 58, "resnet", "8"),
        (7, 1, 120, "resnet", "7"),
    ]
]
IDS = [name for one in TRAFFIC for name in one.batch.request_ids]
TIMES = st.integers(-1, 130).map(lambda half: START_NS + half * MINUTE_NS) | st.sampled_from(
    [START_NS + HOUR_NS - 1, START_NS + HOUR_NS + 1]
)
CRITERIA = {
    "model": st.sampled_from(["resnet", "vit"]),
    "version": st.sampled_from(["7", "8"]),
    "since_ns": TIMES,
    "until_ns": TIMES,
    "request_ids": st.frozensets(st.sampled_from(IDS), max_size=20),
    "flush": st.builds(Flush, st.integers(0, 1), st.integers(0, 7), st.integers(1, 9)),
}
# few at a time: of all six together nothing would be left
SELECTIONS = st.lists(
    st.one_of([st.tuples(st.just(name), values) for name, values in CRITERIA.items()]), max_size=3
).map(lambda chosen: Selection(**dict(chosen)))


@pytest.fixture(scope="module")
def traffic_url() -> str:
    """Two models, two versions, two partitions and three hours, in several files an hour."""
    url = fresh_url()
    record(url, TRAFFIC, most_bytes=200)
    return url


@given(wanted=SELECTIONS)
@settings(max_examples=200, deadline=None)
def test_a_selection_finds_its_rows_and_no_others(traffic_url: str, wanted: Selection) -> None:
    expected = rows_of(TRAFFIC, wanted)
    try:
        recording = Recording(traffic_url, wanted)
    except RecordingError:
        assert not expected
        return

    requests = recording.requests()

    names = ("partition", "offset", "row", "request_id")
    found = [recording.event_time_ns().tolist(), *(requests[name].to_pylist() for name in names)]
    assert list(zip(*found, strict=True)) == expected
    by_place = {(one.partition, one.offset): one.batch for one in TRAFFIC}
    batches = [(by_place[partition, offset], row) for _, partition, offset, row, _ in expected]
    assert recording.predicted().tolist() == [batch.predicted[row] for batch, row in batches]
    layer = recording.array("layer4")
    assert layer.dtype == np.float32
    assert layer.tolist() == [batch.activations["layer4"][row].tolist() for batch, row in batches]
    sent = [name for one in recording.messages() for name in one.batch.request_ids]
    assert sorted(sent) == sorted(row[-1] for row in expected)


def test_partitions_are_merged_by_time(traffic_url: str) -> None:
    order = [(one.partition, one.offset) for one in Recording(traffic_url).messages()]

    # partition 0 is not in the order of time, but in that of its offsets
    assert order == [(0, 0), (1, 5), (0, 1), (0, 2), (1, 6), (1, 7)]


def test_progress_ends_with_all_rows(traffic_url: str) -> None:
    progress: list[tuple[int, int]] = []

    list(Recording(traffic_url).messages(lambda done, total: progress.append((done, total))))

    assert progress == [(rows, 36) for rows in (6, 12, 18, 24, 30, 36)]


def test_requests_have_every_column_but_the_activations(traffic_url: str) -> None:
    requests = Recording(traffic_url).requests()

    assert requests.column_names == [
        *("model", "version", "request_id", "event_time", "partition", "offset", "row"),
        *("predicted_class", "input_ref", "client", "event_id", "source", "time"),
        *("traceparent", "shard"),
    ]
    assert requests.schema.field("event_time").type == pa.timestamp("ns", tz="UTC")
    assert set(
        zip(requests["model"].to_pylist(), requests["version"].to_pylist(), strict=True)
    ) == {
        ("resnet", "7"),
        ("resnet", "8"),
        ("vit", "7"),
    }


def test_layers_are_found_by_a_regular_expression(traffic_url: str) -> None:
    recording = Recording(traffic_url)

    assert recording.layers() == {"layer3": 3, "layer4": 5}
    assert recording.layers("4$") == {"layer4": 5}
    assert recording.layers("conv") == {}


def test_only_layers_that_all_files_have_in_one_width_are_named() -> None:
    url = fresh_url()
    one = message(0, activations={"a": np.ones((4, 2), "f4"), "b": np.ones((4, 3), "f4")})
    other = message(1, activations={"b": np.ones((4, 9), "f4"), "a": np.ones((4, 2), "f2")})
    record(url, [one, other])

    assert Recording(url).layers() == {"a": 2}
    assert Recording(url).array("a").shape == (8, 2)


def test_a_tensor_is_that_of_the_first_request_with_the_id() -> None:
    url = fresh_url()
    late = message(0, minute=30, request_ids=["x", "retry", "y", "z"])
    early = message(9, minute=10, request_ids=["u", "v", "retry", "w"])
    record(url, [late, early], most_bytes=1)

    recording = Recording(url)

    wanted = early.batch.activations["layer4"][2]
    assert recording.tensor("layer4", "retry").tolist() == wanted.tolist()
    later = recording.select(since_ns=START_NS + 30 * MINUTE_NS).tensor("layer4", "retry")
    assert later.tolist() == late.batch.activations["layer4"][1].tolist()


def test_the_one_model_is_known_or_must_be_chosen(traffic_url: str) -> None:
    recording = Recording(traffic_url)

    assert recording.models == [("resnet", "7"), ("resnet", "8"), ("vit", "7")]
    assert recording.select(model="vit").only_model() == ("vit", "7")
    with pytest.raises(RecordingError, match=r"holds resnet/7, resnet/8, vit/7: choose one"):
        recording.only_model()


MISSING: list[tuple[Callable[[Recording], Any], str]] = [
    (lambda r: r.select(model="bert"), "nothing of model bert; it holds resnet/7"),
    (lambda r: r.select(version="9"), "nothing of version 9; it holds resnet/7"),
    (
        lambda r: r.select(since_ns=START_NS + 9 * HOUR_NS),
        "nothing of the time from 2025-12-29T19:00:00.000000000Z; it holds resnet/7, resnet/8, "
        "vit/7, hours 2025-12-29T10 to 2025-12-29T12",
    ),
    (lambda r: r.select(until_ns=START_NS), "the time before 2025-12-29T10:00:00.000000000Z"),
    (lambda r: r.select(flush=Flush(4, 0, 9)), "nothing of partition 4"),
    (lambda r: r.array("layer9"), "has no layer 'layer9', but layer3, layer4: choose among them"),
    (lambda r: r.tensor("layer9", "request-0-0-0"), "has no layer 'layer9'"),
    (lambda r: r.tensor("layer4", "nobody"), r"no request 'nobody': list them with requests\(\)"),
    (
        lambda r: r.select(request_ids=frozenset(["a"])).tensor("layer4", "b"),
        "'b' is not among the selected requests",
    ),
]


@pytest.mark.parametrize(("ask", "message"), MISSING)
def test_what_is_missing_is_named(
    traffic_url: str, ask: Callable[[Recording], Any], message: str
) -> None:
    with pytest.raises(RecordingError, match=message):
        ask(Recording(traffic_url))


def test_a_layer_of_two_widths_must_be_narrowed(traffic_url: str) -> None:
    url = fresh_url()
    record(url, [message(0), message(1, activations={"layer4": np.ones((4, 2), np.float32)})])

    with pytest.raises(RecordingError, match=f"'layer4' has different widths in {url}: narrow"):
        Recording(url).array("layer4")


@pytest.mark.parametrize("content", [None, "notes.txt", "other.parquet"])
def test_an_empty_folder_says_how_to_record(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / content).write_bytes(b"PAR1")

    with pytest.raises(RecordingError, match=rf"latentwatch record --out {tmp_path}`"):
        Recording(str(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The one file of a recording."""
    record(str(tmp_path), [message(offset, rows=32) for offset in range(16)])
    (place,) = RecordingFiles(str(tmp_path)).places()
    return tmp_path / place.path


def read_all(folder: Path) -> None:
    recording = Recording(str(folder))
    recording.array("layer4")
    list(recording.messages())


@pytest.mark.parametrize("bytes_left", [0, 3, 200, -1])
def test_a_file_that_was_cut_short_is_named(file: Path, bytes_left: int, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes()[:bytes_left])

    with pytest.raises(RecordingError, match=rf"^{re.escape(str(file))} .*copy it again"):
        read_all(tmp_path)


@pytest.mark.parametrize("column", ["activation_layer3", "request_id", "event_time"])
def test_a_flipped_bit_is_an_error_and_not_another_value(
    file: Path, column: str, tmp_path: Path
) -> None:
    group = pq.read_metadata(file).row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    (chunk,) = [one for one in chunks if one.path_in_schema.split(".")[0] == column]
    end = chunk.data_page_offset + chunk.total_compressed_size
    content = file.read_bytes()
    # in the second half of the chunk there is no header, only values
    for position in range(end - chunk.total_compressed_size // 2, end, 37):
        damaged = bytearray(content)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(RecordingError, match=rf"^{re.escape(str(file))} .*copy it again"):
            read_all(tmp_path)


def test_a_foreign_file_under_a_name_of_ours_is_named(file: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"offset": [1, 2]}), file)

    with pytest.raises(RecordingError, match=r"something else \(lacks request_id.*keep foreign"):
        read_all(tmp_path)


@pytest.mark.parametrize("metadata", [None, b"not JSON", b"[1]"])
def test_a_file_without_our_metadata_is_foreign(
    file: Path, metadata: bytes | None, tmp_path: Path
) -> None:
    table = pq.read_table(file, partitioning=None)
    pq.write_table(
        table.replace_schema_metadata({"latentwatch": metadata} if metadata else None), file
    )

    with pytest.raises(RecordingError, match=r"no metadata of latentwatch.*latentwatch import"):
        read_all(tmp_path)


def test_a_newer_schema_asks_for_newer_software(file: Path, tmp_path: Path) -> None:
    newer = pa.table({"id": [1]}).replace_schema_metadata({"latentwatch": b'{"schema":2}'})
    pq.write_table(newer, file)

    with pytest.raises(RecordingError, match=r"schema version 2, .* reads 1: upgrade latentwatch"):
        read_all(tmp_path)
