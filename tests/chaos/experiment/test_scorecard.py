"""The scorecard says what is caught and what is not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from latentwatch.detector import Baseline
from latentwatch.stream.cli.main import main


def draw(name: str, rows: int, scale: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng([rows, len(name)])
    return {
        f"{name}.deep": (scale * rng.standard_normal((rows, 6))).astype(np.float16),
        f"{name}.predicted": rng.integers(0, 2, rows),
    }


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Sets of a loud attack and of one without any effect, and the baseline."""
    folder = tmp_path_factory.mktemp("scorecard")
    own = draw("baseline", 1000)
    baseline = folder / "1.safetensors"
    Baseline.fit(
        {"deep": own["baseline.deep"]}, own["baseline.predicted"], model="m", version="1",
        longest_window=64, random_features=64, simulated_requests=20_000,
    ).save(str(baseline))  # fmt: skip
    sets = folder / "sets.npz"
    arrays = draw("clean", 800) | draw("loud@0.5", 200, 4.0) | draw("silent@0.1", 200)
    np.savez(sets, **arrays)
    (folder / "sets.json").write_text(json.dumps({"loud@0.5": {"success": 0.75}}))
    return sets, baseline


def write(places: tuple[Path, Path], out: Path, *more: str) -> Result:
    sets, baseline = places
    words = ["experiment", "scorecard", str(sets), "--baseline", str(baseline), "--out", str(out)]
    few = ["--streams", "10", "--within", "256", "--average-run-length", "100000"]
    return CliRunner().invoke(main, [*words, *few, *more])


def test_what_is_caught_and_what_is_not_are_on_one_page(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    done = write(places, tmp_path)

    assert done.exit_code == 0, (done.output, done.exception)
    card = json.loads((tmp_path / "scorecard.json").read_text())
    grades = {(cell["attack"], cell["share"]): cell["grade"] for cell in card["cells"]}
    assert grades["loud@0.5", 1.0] == "caught"
    assert grades["silent@0.1", 1.0] == "not caught"
    assert card["success"] == {"loud@0.5": 0.75}
    assert set(card["false_alarms"]["1000"]) == {"iid", "class_shift", "autocorrelated"}
    page = (tmp_path / "scorecard.html").read_text()
    assert "silent@0.1 on 100 % of the requests" in page
    assert "75 %" in page
    assert "font-size: small" not in page

    again = write(places, tmp_path)
    assert again.exit_code == 1
    assert "--force" in again.stderr
    assert write(places, tmp_path, "--force").exit_code == 0
