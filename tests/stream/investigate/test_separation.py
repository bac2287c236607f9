"""Which layers tell two recordings apart."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from latentwatch.producers.wire import ActivationBatch
from latentwatch.stream.cli.investigate import layers
from latentwatch.stream.investigate.separation import auroc
from latentwatch.stream.recording import RecordedMessage
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter

WIDTHS = {"stem": 4, "early": 5, "middle": 6, "deep": 8, "dead": 2}
ROWS = 64


def record(url: Path, rows: int, seed: int, *, attack: bool = False) -> str:
    """Record traffic: an attack shows in deep layers; clean traffic drifts in the stem, later."""
    rng = np.random.default_rng(seed)
    writer = RecordingWriter(RecordingFiles(str(url)), most_bytes=10**9, most_seconds=9)
    for number in range(rows // ROWS):
        values: dict[str, Any] = {
            name: rng.standard_normal((ROWS, width)).astype(np.float32)
            for name, width in WIDTHS.items()
        }
        values["dead"][:] = 0.0
        values["deep"] *= 2.0 if attack else 1.0
        values["middle"] *= 1.5 if attack else 1.0
        values["stem"] += 1.0 if number >= rows // ROWS // 2 and not attack else 0.0
        batch = ActivationBatch(
            model="signs",
            version="7",
            activations=values,
            predicted=rng.integers(0, 2, ROWS).astype(np.int32),
            event_time_ns=(np.arange(ROWS) + number * ROWS + 1_700_000_000) * 10**9,
            request_ids=[f"{number}-{row}" for row in range(ROWS)],
            source="/services/test",
        )
        writer.add(RecordedMessage(0, number, batch), now=0.0)
    writer.flush_all()
    return str(url)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Recordings: a clean one, and an attack."""
    folder = tmp_path_factory.mktemp("pair")
    return record(folder / "clean", 1280, 1), record(folder / "attack", 640, 2, attack=True)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(layers, arguments)


@pytest.fixture(scope="module")
def found(pair: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command says as JSON; the picture's bytes under ``picture``."""
    out = tmp_path_factory.mktemp("out") / "layers.png"
    result = run(*pair, "--out", str(out), "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return {**orjson.loads(result.stdout), "picture": out.read_bytes()}


def test_layers_are_ordered_by_how_well_they_see_the_attack(found: dict[str, Any]) -> None:
    assert [report["layer"] for report in found["layers"]][:2] == ["deep", "middle"]
    by_name = {report["layer"]: report for report in found["layers"]}
    assert by_name["deep"]["power"] == 1.0
    assert by_name["deep"]["auroc"] > 0.9 > by_name["middle"]["auroc"] > 0.7
    assert 0.4 < by_name["early"]["auroc"] < 0.6
    assert by_name["early"]["power"] < 0.2


def test_drift_of_the_clean_recording_itself_is_reported_by_layer(found: dict[str, Any]) -> None:
    drift = {report["layer"]: report["drift"] for report in found["layers"]}
    assert drift["stem"] == 1.0
    assert max(drift[name] for name in ("early", "middle", "deep")) <= 0.2


def test_layers_keep_the_depth_in_which_they_were_sent(found: dict[str, Any]) -> None:
    depth = {report["layer"]: report["depth"] for report in found["layers"]}
    assert sorted(depth, key=depth.__getitem__) == ["stem", "early", "middle", "deep"]


def test_a_layer_that_never_varies_is_left_out_and_named(found: dict[str, Any]) -> None:
    assert found["constant"] == ["dead"]


def test_the_advice_is_a_calm_early_layer_and_the_deep_ones_that_see(found: dict[str, Any]) -> None:
    assert found["capture"] == ["early", "middle", "deep"]


def test_the_picture_has_a_panel_a_layer_side_by_side(found: dict[str, Any]) -> None:
    assert found["picture"].startswith(b"\x89PNG")
    width, height = (int.from_bytes(found["picture"][at : at + 4], "big") for at in (16, 20))
    assert width > 2.5 * height


def test_the_table_ends_with_what_to_capture(pair: tuple[str, str], tmp_path: Path) -> None:
    result = run(*pair, "--out", str(tmp_path / "l.png"), "--layers", "^(early|deep)$")
    assert result.exit_code == 0, (result.output, result.exception)
    assert 'As a regular expression: "^(early|deep)$"' in result.stdout
    assert (tmp_path / "l.png").exists()


def test_too_few_requests_are_refused_with_the_number_that_is_needed(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    short = record(tmp_path / "short", 256, 3)
    result = run(short, pair[1], "--out", str(tmp_path / "l.png"))
    assert "has 256 requests in the selection, and 512 are needed" in str(result.exception)
    assert not (tmp_path / "l.png").exists()


def test_a_choice_without_common_layers_names_those_that_are_there(pair: tuple[str, str]) -> None:
    result = run(*pair, "--layers", "conv9")
    assert result.exit_code == 1
    assert "has layers stem, early, middle, deep, dead" in result.output
    assert run(*pair, "--layers", "(").exit_code == 2


def test_the_area_under_the_curve_counts_ties_half() -> None:
    assert auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auroc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert auroc(np.array([0.0, 2.0]), np.array([1.0, 3.0])) == 0.25
