"""Experiment files, and what Chaos Toolkit finds of ours."""

from pathlib import Path

import pytest
from chaoslib.experiment import ensure_experiment_is_valid, load_experiment
from click.testing import CliRunner

import latentwatch
from latentwatch.chaos.experiment import actions, probes
from latentwatch.chaos.experiment.errors import ExperimentError
from latentwatch.chaos.experiment.run import read_variables
from latentwatch.chaos.experiment.system import running
from latentwatch.stream.cli.main import main

LIBRARY = Path(__file__).parents[3] / "experiments"
FILES = sorted(LIBRARY.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_ready_experiment_can_be_run_and_is_told_of(path: Path) -> None:
    ensure_experiment_is_valid(load_experiment(str(path)))
    assert f"{path.name}" in (LIBRARY / "README.md").read_text()


def test_discovery_finds_every_action_and_probe_with_its_description() -> None:
    found = latentwatch.discover()["activities"]
    assert {one["name"] for one in found} == {*actions.__all__, *probes.__all__}
    assert all(
        one["doc"] and one["mod"].startswith("latentwatch.chaos.experiment.") for one in found
    )


def test_a_file_that_is_no_experiment_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("title: nothing\n")
    done = CliRunner().invoke(main, ["experiment", "run", str(file), "--out", str(tmp_path / "o")])
    assert done.exit_code == 1
    assert "cannot be run" in done.stderr
    assert not (tmp_path / "o").exists()


def test_activities_without_a_system_say_what_is_missing() -> None:
    with pytest.raises(
        ExperimentError, match=r"put the control latentwatch\.chaos\.experiment\.control"
    ):
        running()


def test_variables_have_types() -> None:
    assert read_variables(["share:float=0.3", "name=x"]) == {"share": 0.3, "name": "x"}
    with pytest.raises(ExperimentError, match="variable type"):
        read_variables(["share:complex=1"])
