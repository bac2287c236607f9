"""KServe's inference logger: both protocols, every form that events are stored in, pairs by id."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import Result

from latentwatch.stream.recording import Recording

Run = Callable[..., Result]
WANTED = ("--layer", "deep=layer4", "--predicted", "class")

# as `kubectl logs` shows an event display, see the logger's guide in KServe's documentation
DISPLAYED = """\
☁️  cloudevents.Event
Validation: valid
Context Attributes,
  specversion: 1.0
  type: org.kubeflow.serving.inference.response
  source: http://localhost:9081/
  id: 0009174a-24a8-4603-b098-09c8799950e9
  time: 2021-04-10T00:23:26.080736102Z
  datacontenttype: application/json
Extensions,
  component: predictor
  endpoint:
  inferenceservicename: signs
  knativearrivaltime: 2021-04-10T00:23:26.081Z
  namespace: default
  traceparent: 00-7cebb2ae49d33626845711ad585c850c-78b57bf5baf7151f-00
Data,
  {
    "predictions": [
      {"layer4": [0.1, -2.5], "class": 1},
      {"layer4": [3e-5, 16777217], "class": 0}
    ]
  }
☁️  cloudevents.Event
Validation: valid
Context Attributes,
  specversion: 1.0
  type: org.kubeflow.serving.inference.request
  source: http://localhost:9081/
  id: 0009174a-24a8-4603-b098-09c8799950e9
  time: 2021-04-10T00:23:26.075736102Z
  datacontenttype: application/x-www-form-urlencoded
Extensions,
  component: predictor
  inferenceservicename: signs
Data,
  {"instances": [[6.8, 2.8], [6.0, 3.4]]}
"""


def v2(layer: Any, classes: Any, **changes: Any) -> dict[str, Any]:
    """A response of the Open Inference Protocol, version 2."""
    array = np.asarray(layer)
    output = {
        "name": "layer4",
        "datatype": "FP32",
        "shape": list(array.shape),
        "data": array.ravel().tolist(),
    }
    predicted = {"name": "class", "datatype": "INT64", "shape": [len(classes)], "data": classes}
    return {"model_name": "signs", "id": "1", "outputs": [output | changes, predicted]}


def write_lines(path: Path, *events: Any) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps(event) for event in events))
    return path


def test_responses_are_paired_with_requests_and_sorted_by_their_time(
    run: Run, names: Any, logged: Any, activations: Any, tmp_path: Path
) -> None:
    deep = activations(1, 5, 6)
    file = write_lines(
        tmp_path / "events.jsonl",
        logged("response", "late", "2026-01-05T10:00:05Z", v2(deep[4:], [4])),
        logged("response", "batch", "2026-01-05T10:00:02.000000009Z", v2(deep[:3], [0, 1, 2])),
        logged("request", "batch", "2026-01-05T10:00:01.123456789Z", {"inputs": []}),
        logged("response", "alone", "2026-01-05T12:00:03+02:00", v2(deep[3:4], [3])),
        logged("request", "late", "2026-01-05T10:00:04.5Z", {"inputs": []}),
    )
    result = run("import", "kserve", file, *names, *WANTED)
    assert result.exit_code == 0, result.output
    assert "imported 5 requests in 3 messages" in result.stdout
    recording = Recording(str(tmp_path / "out"))
    assert recording.array("deep").tobytes() == deep.tobytes()
    assert recording.predicted().tolist() == [0, 1, 2, 3, 4]
    requests = recording.requests().to_pydict()
    assert requests["request_id"] == ["batch/0", "batch/1", "batch/2", "alone", "late"]
    assert requests["input_ref"] == ["events.jsonl#L3"] * 3 + [None, "events.jsonl#L5"]
    assert requests["source"] == ["http://localhost:9081/"] * 5
    seconds = [time - 1_767_607_200 * 10**9 for time in recording.event_time_ns().tolist()]
    assert seconds == [1_123_456_789] * 3 + [3 * 10**9, 4_500_000_000]
    assert [message.offset for message in recording.messages()] == [0, 1, 2]


def test_every_stored_form_of_the_same_events_gives_the_same_recording(
    run: Run, names: Any, logged: Any, tmp_path: Path
) -> None:
    layer, classes = [[0.5, 1.5], [2.5, -1.0]], [1, 0]
    objects = [{"layer4": row, "class": one} for row, one in zip(layer, classes, strict=True)]
    whole = v2(layer, classes)
    scores = {"name": "class", "datatype": "FP32", "shape": [2, 2], "data": [0, 9.0, 0.2, 0.1]}
    bodies = {
        "v2": whole,
        "nested": v2(layer, classes, data=layer),
        "scores": whole | {"outputs": [whole["outputs"][0], scores]},
        "v1": {"predictions": objects},
        "text": orjson.dumps(whole).decode(),
    }
    events = [
        logged("response", name, f"2026-01-05T10:00:0{i}Z", body)
        for i, (name, body) in enumerate(bodies.items())
    ]
    encoded = logged("response", "base64", "2026-01-05T10:00:05Z", None)
    del encoded["data"]
    encoded["data_base64"] = base64.b64encode(orjson.dumps(whole)).decode()
    folder = tmp_path / "sink"
    folder.mkdir()
    write_lines(folder / "lines.ndjson", *events[:2])
    (folder / "array.json").write_bytes(orjson.dumps(events[2:4]))
    (folder / "one.json").write_bytes(orjson.dumps(events[4], option=orjson.OPT_INDENT_2))
    write_lines(folder / "two.json", encoded)
    result = run("import", "kserve", folder, *names, *WANTED)
    assert result.exit_code == 0, result.output
    assert "left out" not in result.stdout
    recording = Recording(str(tmp_path / "out"))
    assert recording.array("deep").tolist() == layer * 6
    assert recording.predicted().tolist() == classes * 6
    ids = [message.batch.event_id for message in recording.messages()]
    assert ids == [*bodies, "base64"]


def test_the_log_of_an_event_display_is_read(run: Run, names: Any, tmp_path: Path) -> None:
    (tmp_path / "dumper.log").write_text(DISPLAYED)
    result = run("import", "kserve", tmp_path / "dumper.log", *names, *WANTED)
    assert result.exit_code == 0, result.output
    assert "left out" not in result.stdout
    recording = Recording(str(tmp_path / "out"))
    wanted = np.array([[0.1, -2.5], [3e-5, 16777217]], dtype=np.float32)
    assert recording.array("deep").tobytes() == wanted.tobytes()
    assert recording.event_time_ns().tolist() == [1_618_014_206_075_736_102] * 2
    assert recording.requests()["input_ref"].to_pylist() == ["dumper.log#L24"] * 2


def test_one_service_and_one_component_are_taken(
    run: Run, names: Any, logged: Any, tmp_path: Path
) -> None:
    body = v2([[1.0]], [0])
    time = "2026-01-05T10:00:00Z"
    file = write_lines(
        tmp_path / "events.jsonl",
        logged("response", "a", time, body),
        logged("response", "a", time, body, component="transformer"),
        logged("response", "b", time, body, inferenceservicename="faces"),
    )
    mixed = run("import", "kserve", file, *names, *WANTED)
    assert mixed.exit_code == 1
    assert "faces, signs: these are several inference services" in mixed.stderr
    assert not (tmp_path / "out").exists()
    result = run("import", "kserve", file, *names, *WANTED, "--service", "signs")
    assert result.exit_code == 0, result.output
    assert "imported 1 requests" in result.stdout
    assert "other component" in result.stdout
    assert "other service" in result.stdout


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": v2([[1.0, 2.0]], [0], shape=[3, 1])}, "wrong shape"),
        ({"data": v2([[1.0]], [0], shape=None)}, "wrong shape"),
        ({"data": v2([[1.0]], [0], datatype="BYTES", data=["eA=="])}, "no numbers"),
        ({"data": v2([[1.0]], [0], name="layer3")}, "no such output"),
        ({"data": v2([[1.0]], [0, 1])}, "no class"),
        ({"data": v2(np.zeros((0, 2)), [])}, "no rows"),
        ({"data": {"error": "out of memory"}}, "no such output"),
        ({"data": "{"}, "not JSON"),
        ({"data_base64": "%"}, "not base64"),
        ({"id": ""}, "no id"),
        ({"time": None}, "no time"),
        ({"type": "org.kubeflow.serving.inference.outlier"}, "other event"),
    ],
)
def test_an_event_that_cannot_be_imported_is_reported_with_its_reason(
    run: Run, names: Any, logged: Any, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    good = logged("response", "good", "2026-01-05T10:00:00Z", v2([[1.0]], [0]))
    wrong = logged("response", "wrong", "2026-01-05T10:00:01Z", v2([[1.0]], [0])) | change
    file = write_lines(tmp_path / "events.jsonl", good, wrong)
    result = run("import", "kserve", file, *names, *WANTED)
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("│")]
    cells = [cell.strip() for cell in row.split("│")]
    assert cells[1:4] == [reason, "1", "events.jsonl:2"]
    assert Recording(str(tmp_path / "out")).requests()["request_id"].to_pylist() == ["good"]


def test_requests_without_a_response_and_foreign_files_are_counted(
    run: Run, names: Any, logged: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "sink"
    folder.mkdir()
    write_lines(
        folder / "events.jsonl",
        logged("request", "lost", "2026-01-05T10:00:00Z", {"inputs": []}),
        logged("response", "good", "2026-01-05T10:00:00Z", v2([[1.0]], [0])),
        {"some": "object"},
    )
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "binary.log").write_bytes(b"\xff\xfe\x00")
    result = run("import", "kserve", folder, *names, *WANTED)
    assert result.exit_code == 0, result.output
    rows = [line.split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    assert {(cells[1].strip(), cells[2].strip(), cells[3].strip()) for cells in rows} == {
        ("request alone", "1", "events.jsonl:1"),
        ("no CloudEvent", "1", "events.jsonl:3"),
        ("other file", "2", "binary.log"),
    }
