"""Tables of run lengths, for one split of the rows and for several."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from latentwatch.detector import Evaluation
from latentwatch.lab.evaluate.tables import markdown, tables
from latentwatch.stream.cli.main import main


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def shown(arl: float | None, detail: dict[str, Any]) -> str:
    outcome = Evaluation(arl={"10000": {"iid": arl}}, arl_detail={"10000": {"iid": detail}})
    return markdown(tables(outcome, alpha=0.01))


def test_the_run_length_of_one_split_stands_with_its_interval() -> None:
    text = shown(9_217.4, {"requests": 1, "alarms": 1, "interval": [8_069.0, 10_577.0]})

    assert "(95 % interval)" in text
    assert "| 10,000 | 9,217 (8,069 to 10,577) |" in text
    assert "| 10,000 | - (700 to more) |" in shown(None, {"interval": [700.0, None]})


def test_the_mean_of_several_splits_stands_between_the_lowest_and_the_highest() -> None:
    splits = [{"arl": value} for value in (15_873.0, 6_452.2, 19_417.0)]
    text = shown(9_942.0, {"splits": splits})

    assert "(lowest to highest of 3 splits)" in text
    assert "| 10,000 | 9,942 (6,452 to 19,417) |" in text
    # a split without any alarm has the longest run of all
    assert "9,942 (6,452 to more)" in shown(9_942.0, {"splits": [*splits, {"arl": None}]})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {}
    for name, rows in (("baseline", 1024), ("clean", 600)):
        arrays[f"{name}.deep"] = rng.standard_normal((rows, 6)).astype(np.float16)
        arrays[f"{name}.predicted"] = rng.integers(0, 2, rows)
    path = tmp_path_factory.mktemp("data") / "benign.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_evaluate_measures_run_lengths_on_the_splits_that_were_asked_for(
    data: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "figures.md"
    result = run(
        "evaluate", data, "--measures", "arl", "--windows", "10", "--splits", "2",
        "--simulated-requests", "400000", "--json", "--markdown", kept,
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    found = orjson.loads(result.stdout)
    assert set(found) == {"arl", "arl_detail"}
    assert set(found["arl"]["10000"]) == {"iid", "class_shift", "autocorrelated"}
    first, second = found["arl_detail"]["1000"]["iid"]["splits"]
    assert first["requests"] == second["requests"]
    # other rows, another baseline
    assert first["alarms"] != second["alarms"]
    text = kept.read_text()
    assert text.startswith("`latentwatch evaluate benign.npz --windows 10 --alpha 0.01 --seed 0 ")
    assert "--splits 2 --simulated-requests 400000`" in text
    assert "lowest to highest of 2 splits" in text


def test_splits_without_run_lengths_are_refused_in_one_line(data: Path) -> None:
    result = run("evaluate", data, "--measures", "power,delay", "--splits", "6")

    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: 6 splits only affect run lengths: add arl to the measures")
