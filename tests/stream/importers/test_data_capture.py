"""SageMaker data capture: every encoding, the folders of hours, and lines that cannot be read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from latentwatch.stream.recording import Recording

Run = Callable[..., Result]
OPTIONS = ("--layer", "early=layers.early", "--layer", "deep=layers.deep", "--predicted", "scores")


def response(early: Any, deep: Any, best: int) -> dict[str, Any]:
    scores = [0.05] * 3
    scores[best] = 0.9
    return {"layers": {"early": early.tolist(), "deep": deep.tolist()}, "scores": scores}


def test_folders_of_hours_become_one_recording_in_order_of_time(
    run: Run, names: Any, captured: Any, activations: Any, tmp_path: Path
) -> None:
    """Bit by bit, whatever the encoding and the order of the lines."""
    early, deep = activations(1, 4, 3), activations(2, 4, 8)
    best = [2, 0, 1, 1]
    times = [f"2026-01-05T10:59:5{i}Z" for i in (7, 8, 9)] + ["2026-01-05T11:00:00.000000001Z"]
    lines = [
        captured(f"e{i}", times[i], response(early[i], deep[i], best[i]), encoding)
        for i, encoding in enumerate(("JSON", "BASE64", "JSON", "BASE64"))
    ]
    folder = tmp_path / "capture" / "endpoint" / "AllTraffic"
    for hour, content in (("10", [lines[2], lines[0], lines[1]]), ("11", [lines[3]])):
        (folder / "2026/01/05" / hour).mkdir(parents=True)
        (folder / "2026/01/05" / hour / "59-57-123-abc.jsonl").write_bytes(b"\n".join(content))
    result = run("import", "data-capture", folder, *names, *OPTIONS)
    assert result.exit_code == 0, result.output
    assert "imported 4 requests in 4 messages" in result.stdout
    assert "left out" not in result.stdout
    recording = Recording(str(tmp_path / "out"))
    assert recording.layers() == {"early": 3, "deep": 8}
    assert recording.array("early").tobytes() == early.tobytes()
    assert recording.array("deep").tobytes() == deep.tobytes()
    assert recording.predicted().tolist() == best
    requests = recording.requests().to_pydict()
    assert requests["request_id"] == ["e0", "e1", "e2", "e3"]
    assert requests["offset"] == [0, 1, 2, 3]
    assert requests["input_ref"][0] == "2026/01/05/10/59-57-123-abc.jsonl#L2"
    start = 1_767_610_797 * 10**9
    later = [0, 10**9, 2 * 10**9, 3 * 10**9 + 1]
    assert recording.event_time_ns().tolist() == [start + ns for ns in later]
    assert recording.models == [("signs", "7")]
    assert {place.hour for place in recording.places} == {491_002, 491_003}


def test_responses_of_several_requests_and_csv_are_read(
    run: Run, names: Any, captured: Any, activations: Any, tmp_path: Path
) -> None:
    deep = activations(0, 3, 4)
    table = "\n".join(f"{i},{','.join(map(repr, row.tolist()))}" for i, row in enumerate(deep))
    wanted = ("--layer", "deep=1:5", "--predicted", "0", "--request-id", "inferenceId")
    changes = {"content_type": "text/csv; charset=utf-8", "metadata": {"inferenceId": "order-17"}}
    line = captured("e", "2026-01-05T10:00:00Z", table, "CSV", **changes)
    (tmp_path / "csv.jsonl").write_bytes(line)
    assert run("import", "data-capture", tmp_path / "csv.jsonl", *names, *wanted).exit_code == 0
    recording = Recording(str(tmp_path / "out"))
    assert recording.array("deep").tobytes() == deep.tobytes()
    assert recording.predicted().tolist() == [0, 1, 2]
    ids = recording.requests()["request_id"].to_pylist()
    assert ids == ["order-17/0", "order-17/1", "order-17/2"]
    (message,) = recording.messages()
    assert len(message.batch) == 3


def test_json_lines_and_lists_of_objects_are_a_request_each(
    run: Run, names: Any, captured: Any, activations: Any, tmp_path: Path
) -> None:
    deep = activations(0, 2, 4)
    objects = [{"a.b": row.tolist(), "class": number} for number, row in enumerate(deep)]
    text = "\n".join(str(one).replace("'", '"') for one in objects)
    lines = [
        captured("list", "2026-01-05T10:00:00Z", objects),
        captured("text", "2026-01-05T10:00:01Z", text, content_type="application/jsonlines"),
    ]
    (tmp_path / "two.jsonl").write_bytes(b"\n".join(lines))
    wanted = ("--layer", "deep=a.b", "--predicted", "class")
    result = run("import", "data-capture", tmp_path / "two.jsonl", *names, *wanted)
    assert result.exit_code == 0, result.output
    recording = Recording(str(tmp_path / "out"))
    assert recording.array("deep").tobytes() == np.concatenate([deep, deep]).tobytes()
    assert recording.predicted().tolist() == [0, 1, 0, 1]


def test_what_cannot_be_imported_is_counted_by_reason_with_its_line(
    run: Run, names: Any, captured: Any, tmp_path: Path
) -> None:
    good = {"deep": [1.0, 2.0], "class": 1}
    time = "2026-01-05T10:00:00Z"
    lines = [
        captured("good", time, good),
        captured("good", time, good),
        captured("nan", time, '{"deep": [1.0, NaN], "class": 1}'),
        captured("null", time, '{"deep": [1.0, null], "class": 1}'),
        captured("far", time, {"deep": [1e39, 0.0], "class": 1}),
        captured("wide", time, {"deep": [1.0, 2.0, 3.0], "class": 1}),
        captured("half", time, {"deep": [1.0, 2.0], "class": 0.5}),
        captured("minus", time, {"deep": [1.0, 2.0], "class": -1}),
        captured("lacks", time, {"class": 1}),
        captured("text", time, {"deep": ["a", "b"], "class": 1}),
        captured("when", "yesterday", good),
        captured("early", "1999-01-01T00:00:00Z", good),
        captured("input", time, good, without=["endpointOutput"]),
        captured("v1", time, good, eventVersion="1"),
        captured("b64", time, good, "BASE64").replace(b"eyJk", b"!!!!"),
        captured("unknown", time, good, "PARQUET"),
        captured("x" * 257, time, good),
        b'{"eventVersion": "0"}',
        b"[1, 2]",
        captured("cut", time, good)[:200],
    ]
    (tmp_path / "lines.jsonl").write_bytes(b"\n".join(lines))
    wanted = ("--layer", "deep", "--predicted", "class")
    result = run("import", "data-capture", tmp_path / "lines.jsonl", *names, *wanted)
    assert result.exit_code == 0, result.output
    assert "imported 1 requests in 1 messages" in result.stdout
    rows = [line.split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    skipped = {cells[1].strip(): (cells[2].strip(), cells[3].strip()) for cells in rows}
    assert skipped == {
        "double id": ("1", "lines.jsonl:2"),
        "not finite": ("3", "lines.jsonl:3"),
        "other layers": ("1", "lines.jsonl:6"),
        "no class": ("1", "lines.jsonl:7"),
        "negative class": ("1", "lines.jsonl:8"),
        "no such output": ("1", "lines.jsonl:9"),
        "no numbers": ("1", "lines.jsonl:10"),
        "no time": ("1", "lines.jsonl:11"),
        "refused by the wire format": ("2", "lines.jsonl:12"),
        "no output": ("1", "lines.jsonl:13"),
        "unknown version": ("1", "lines.jsonl:14"),
        "not base64": ("1", "lines.jsonl:15"),
        "unknown encoding": ("1", "lines.jsonl:16"),
        "no data capture": ("2", "lines.jsonl:18"),
        "not JSON": ("1", "lines.jsonl:20"),
    }
    assert sum(int(count) for count, _ in skipped.values()) == len(lines) - 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "there is nothing to read"),
        (b"PAR1\x00\xff\xfe", "not JSON: 1, first at foreign.jsonl:1"),
        (b'{"captureData": ', "cut short"),
        (b"{}\n{}\n", "no data capture: 2, first at foreign.jsonl:1"),
    ],
)
def test_a_file_of_which_nothing_can_be_imported_is_one_line(
    run: Run, names: Any, tmp_path: Path, content: bytes, text: str
) -> None:
    (tmp_path / "foreign.jsonl").write_bytes(content)
    wanted = ("--layer", "deep", "--predicted", "class")
    result = run("import", "data-capture", tmp_path / "foreign.jsonl", *names, *wanted)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: nothing was imported into")
    assert text in line
    assert not (tmp_path / "out").exists()


def test_variants_are_not_mixed_into_one_model_version(
    run: Run, names: Any, captured: Any, tmp_path: Path
) -> None:
    for variant in ("blue", "green"):
        folder = tmp_path / "endpoint" / variant / "2026/01/05/10"
        folder.mkdir(parents=True)
        line = captured(variant, "2026-01-05T10:00:00Z", {"deep": [1.0], "class": 0})
        (folder / "00-00-1.jsonl").write_bytes(line)
        (folder / "notes.md").write_text("keep me")
    wanted = (*names, "--layer", "deep", "--predicted", "class")
    both = run("import", "data-capture", tmp_path / "endpoint", *wanted)
    assert both.exit_code == 1
    assert "variants blue, green" in both.stderr
    one = run("import", "data-capture", tmp_path / "endpoint" / "green", *wanted)
    assert one.exit_code == 0
    assert "2026/01/05/10/notes.md" in one.stdout
    assert Recording(str(tmp_path / "out")).requests()["request_id"].to_pylist() == ["green"]
