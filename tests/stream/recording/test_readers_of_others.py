"""docs/recordings.md is run: notebooks, pandas, polars and duckdb read what was written."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.recording import RecordedMessage
from tests.stream.recording.examples import START_NS, message, record

DOCS = Path(__file__).parents[3] / "docs" / "recordings.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
LIBRARIES = ["latentwatch.stream.recording", "pandas", "polars", "duckdb"]
WIDTHS = {"layer1": 24, "layer3": 96, "layer4": 192}
ROWS = 20


def messages(version: str) -> list[RecordedMessage]:
    """Numbered requests, five minutes apart, over three hours and two partitions."""
    found = []
    for offset in range(2):
        number = np.arange(offset * ROWS, (offset + 1) * ROWS)
        rng = np.random.default_rng([len(version), offset])
        activations = {
            name: rng.standard_normal((ROWS, width)).astype(np.float16)
            for name, width in WIDTHS.items()
        }
        fields = {
            "version": version,
            "activations": activations,
            "event_time_ns": START_NS + number * (HOUR_NS // 12),
            "request_ids": [f"request-{n}" for n in number],
        }
        partition = offset + 2 * (version != "7")
        found.append(message(offset, ROWS, partition=partition, **fields))
    return found


WRITTEN = messages("7")
VALUES = np.concatenate([one.batch.activations["layer4"] for one in WRITTEN])
CLASSES = np.concatenate([one.batch.predicted for one in WRITTEN])
IDS = [f"request-{number}" for number in range(2 * ROWS)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a recording in it: two versions of one model, and another model."""
    other = message(5, partition=9, model="vit", activations={"conv": np.ones((4, 2), np.float32)})
    record(str(tmp_path / "recording"), [*WRITTEN, *messages("1.10"), other])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(library: str) -> dict[str, Any]:
    """Run the block of the docs that uses a library; the variables that it sets."""
    (block,) = [text for text in BLOCKS if re.search(rf"(import|from) {library}\b", text)]
    found: dict[str, Any] = {}
    exec(compile(block, f"{DOCS.name}: {library}", "exec"), found)
    return found


def test_every_block_of_the_docs_is_run_here() -> None:
    assert len(BLOCKS) == len(LIBRARIES)


@pytest.mark.usefixtures("folder")
def test_a_notebook_finds_layers_requests_and_tensors() -> None:
    found = run("latentwatch.stream.recording")

    assert found["layers"] == {"layer3": 96, "layer4": 192}
    assert found["requests"]["request_id"].tolist() == IDS
    assert found["requests"]["predicted_class"].tolist() == CLASSES.tolist()
    assert found["deep"].dtype == found["one"].dtype == np.float32
    assert found["deep"].tolist() == VALUES.tolist()
    assert found["one"].tolist() == VALUES[17].tolist()


@pytest.mark.usefixtures("folder")
def test_pandas_reads_the_values_that_were_written() -> None:
    found = run("pandas")

    frame, values = found["frame"], found["deep_values"]
    order = np.argsort(frame["event_time"].to_numpy())
    assert frame["request_id"].to_numpy()[order].tolist() == IDS
    assert values.dtype == np.float16
    assert values[order].tobytes() == VALUES.tobytes()
    times = frame["event_time"].astype("int64").to_numpy()[order]
    assert times.tolist() == (START_NS + np.arange(2 * ROWS) * (HOUR_NS // 12)).tolist()
    assert set(frame["hour"]) == {
        "2025-12-29T10",
        "2025-12-29T11",
        "2025-12-29T12",
        "2025-12-29T13",
    }
    expected = dict(zip(*np.unique(CLASSES, return_counts=True), strict=True))
    assert found["per_class"].to_dict() == expected


@pytest.mark.usefixtures("folder")
def test_polars_reads_the_values_that_were_written() -> None:
    found = run("polars")

    order = np.argsort(found["table"]["event_time"].to_numpy())
    assert found["table"]["request_id"].to_numpy()[order].tolist() == IDS[12:]
    assert found["late_values"].dtype == np.float16
    assert found["late_values"][order].tobytes() == VALUES[12:].tobytes()


@pytest.mark.usefixtures("folder")
def test_duckdb_reads_the_values_that_were_written() -> None:
    import duckdb

    hours = run("duckdb")["hours"]

    first = VALUES[:, 0].astype(np.float64)
    means = [first[start : start + 12].mean() for start in (0, 12, 24, 36)]
    assert [(name, count) for name, count, _ in hours] == [
        ("2025-12-29T10", 12),
        ("2025-12-29T11", 12),
        ("2025-12-29T12", 12),
        ("2025-12-29T13", 4),
    ]
    np.testing.assert_allclose([mean for *_, mean in hours], means, rtol=1e-12)
    rows = duckdb.sql(
        "SELECT activation_layer4 FROM 'recording/model=resnet/version=7/**/*.parquet' "
        "ORDER BY event_time"
    ).fetchall()
    assert [row for (row,) in rows] == VALUES.astype(np.float32).tolist()
