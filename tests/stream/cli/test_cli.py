"""The command line: files in, files and tables out, and one line where something is wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from latentwatch import __version__
from latentwatch.stream.cli.main import main

QUICK = ("--simulated-requests", "400000")
NAMES = ("--model", "signs", "--model-version", "7")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_line(result: Result, text: str) -> None:
    """The command failed with one line that holds the text, not with a traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    assert text in line


def draw(name: str, rows: int, scale: float = 1.0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng([rows, len(name)])
    return {
        f"{name}.deep": (scale * rng.standard_normal((rows, 6))).astype(np.float16),
        f"{name}.predicted": rng.integers(0, 2, rows),
    }


@pytest.fixture(scope="session")
def arrays() -> dict[str, NDArray[Any]]:
    """A baseline, clean traffic and one attack."""
    return draw("baseline", 1024) | draw("clean", 600) | draw("attack", 120, scale=4.0)


@pytest.fixture(scope="session")
def data(arrays: dict[str, NDArray[Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "activations.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="session")
def fitted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder with a fitted baseline, and what the command said."""
    folder = tmp_path_factory.mktemp("baselines")
    return folder, run(
        "baseline", "fit", data, *NAMES, "--baselines", folder, "--longest-window", "64"
    )


def test_a_fitted_baseline_is_where_workers_look(fitted: tuple[Path, Result]) -> None:
    folder, result = fitted
    assert result.exit_code == 0, result.output
    path = folder / "signs" / "7.safetensors"
    assert path.is_file()
    assert f"wrote {path}" in result.stdout
    assert "baseline of signs/7" in result.stdout


def test_show_prints_what_a_baseline_promises(fitted: tuple[Path, Result]) -> None:
    result = run("baseline", "show", fitted[0] / "signs" / "7.safetensors")
    assert result.exit_code == 0
    for text in ("baseline of signs/7", "deep (6)", "1,024, 2", "32 to 64 requests", "1,000,000",
                 "smallest share of atypical requests", "power by share"):  # fmt: skip
        assert text in result.stdout


def test_a_baseline_is_not_replaced_unless_forced(data: Path, fitted: tuple[Path, Result]) -> None:
    path = fitted[0] / "signs" / "7.safetensors"
    before = path.read_bytes()
    again = ("baseline", "fit", data, *NAMES, "--baselines", fitted[0], "--longest-window", "32")
    assert_one_line(run(*again), "--force replaces it")
    assert path.read_bytes() == before
    assert run(*again, "--force").exit_code == 0
    assert "32 to 32 requests" in run("baseline", "show", path).stdout
    path.write_bytes(before)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--layers", "early"), "lacks early; it has deep"),
        (("--classes", "1"), "predicted class 1 is unknown"),
        (("--longest-window", "100"), "power of two"),
        (("--longest-window", "1024"), "choose a shorter longest_window"),
    ],
)
def test_a_baseline_that_cannot_be_fitted_is_one_line(
    data: Path, tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    assert_one_line(
        run("baseline", "fit", data, *NAMES, "--baselines", tmp_path / "b", *options), text
    )
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"deep": np.zeros((200, 2))}, "lacks predicted"),
        ({"predicted": np.zeros(200, int)}, "one array [N, d] per layer"),
        ({"deep": np.ones((200, 2)), "predicted": np.zeros(200, int)}, "never vary"),
        ({"deep": np.eye(200), "predicted": np.zeros(200)}, "one integer class per row"),
        ({"deep": np.eye(200), "predicted": np.zeros(9, int)}, "shape"),
        ({"deep": np.full((200, 2), np.nan), "predicted": np.zeros(200, int)}, "not finite"),
        ({"deep": np.full((200, 2), "x"), "predicted": np.zeros(200, int)}, "real numbers"),
        ({"deep": np.full((200, 2), 1j), "predicted": np.zeros(200, int)}, "real numbers"),
        ({"deep": np.array([None]), "predicted": np.zeros(1, int)}, "plain arrays"),
    ],
)
def test_arrays_that_are_no_baseline_are_one_line(
    tmp_path: Path, wrong: dict[str, NDArray[Any]], text: str
) -> None:
    np.savez(tmp_path / "wrong.npz", **wrong)  # type: ignore[arg-type]
    result = run(
        "baseline", "fit", tmp_path / "wrong.npz", *NAMES, "--longest-window", "64",
        "--baselines", tmp_path,
    )  # fmt: skip
    assert_one_line(result, text)


def test_files_of_another_kind_are_one_line(data: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no arrays")
    np.save(tmp_path / "single.npy", np.eye(3))
    for wrong in (text, tmp_path / "single.npy"):
        assert_one_line(run("evaluate", wrong), "not an npz file of plain arrays")
        assert_one_line(
            run("baseline", "fit", wrong, *NAMES, "--baselines", tmp_path), "not an npz file"
        )
    assert_one_line(run("baseline", "show", data), "not a latentwatch baseline")
    assert_one_line(run("baseline", "show", tmp_path / "missing"), "missing")
    assert_one_line(run("baseline", "show", tmp_path), "directory")
    assert_one_line(run("baseline", "show", "foo://bucket/b"), "cannot be opened")
    assert_one_line(run("topics", "--settings", text), "is not TOML")


def test_a_model_name_that_leads_out_of_the_folder_is_refused(data: Path, tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b"
    options = ("--model-version", "1", "--baselines", inside)
    result = run("baseline", "fit", data, "--model", "../../escaped", *options)
    assert_one_line(result, "not a valid model or version name")
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_evaluate_measures_and_repeats_itself(data: Path) -> None:
    first, again = (
        run(
            "evaluate",
            data,
            *QUICK,
            "--json",
            "--windows",
            "40",
            "--seed",
            "3",
            "--measures",
            "power",
        )
        for _ in range(2)
    )
    assert first.exit_code == 0, first.output
    assert first.stdout == again.stdout
    outcome = orjson.loads(first.stdout)
    assert set(outcome) == {"false_alarm", "power", "auroc"}
    assert set(outcome["false_alarm"]) == {"32", "50", "100", "200", "500"}
    assert set(outcome["power"]) == set(outcome["auroc"]) == {"attack"}
    power = outcome["power"]["attack"]
    assert set(power) >= {"32@1.0", "50@1.0", "50@0.3", "100@0.2", "200@0.1", "500@0.05"}
    assert power["32@1.0"] == power["50@0.3"] == 1.0
    assert max(outcome["false_alarm"].values()) <= 0.1
    assert 0.9 < outcome["auroc"]["attack"] <= 1.0


def test_evaluate_shows_tables_of_every_measure(data: Path) -> None:
    result = run("evaluate", data, *QUICK, "--windows", "10")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    for text in ("W=100", "@0.3", "AUROC", "attack", "autocorrelated", "90th percentile",
                 "clean hour", "95 % lower bound", "suspects"):  # fmt: skip
        assert text in result.stdout


def test_sets_may_come_from_several_files(data: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.npz"
    np.savez(more, **draw("another", 120, scale=2.0))  # type: ignore[arg-type]
    result = run("evaluate", data, more, *QUICK, "--windows", "10", "--measures", "power", "--json")
    assert set(orjson.loads(result.stdout)["power"]) == {"attack", "another"}
    assert_one_line(run("evaluate", data, more, more), "more.npz has another.deep, and so has")


def test_measures_are_chosen_by_name(data: Path) -> None:
    result = run("evaluate", data, *QUICK, "--windows", "10", "--measures", "delay", "--json")
    assert set(orjson.loads(result.stdout)) == {"delay", "delay_90", "delay_streams"}
    wrong = run("evaluate", data, "--measures", "power,speed")
    assert wrong.exit_code == 2
    assert "speed: choose among power, arl, delay, requests" in wrong.stderr


def test_other_methods_see_the_same_windows_and_all_tables_can_be_kept(
    data: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "figures.md"
    result = run(
        "evaluate", data, *QUICK, "--windows", "10", "--measures", "power", "--against", "ladis",
        "--against-windows", "10", "--json", "--markdown", kept,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = orjson.loads(result.stdout)["against"]
    assert list(found) == ["latentwatch", "ladis"]
    assert found["latentwatch"]["power"]["attack"]["50@1.0"] == 1.0
    text = kept.read_text()
    assert text.startswith("`latentwatch evaluate activations.npz --windows 10")
    for line in ("**power of each method: attack**", "| set | 32 @1.0 |", "| --- | ---: |"):
        assert line in text
    assert run("evaluate", data, "--against", "magic").exit_code == 2


def test_data_that_cannot_be_evaluated_is_one_line(
    arrays: dict[str, NDArray[Any]], data: Path, tmp_path: Path
) -> None:
    assert_one_line(run("evaluate", data, "--layers", "early"), "the file has deep")
    without = {name: array for name, array in arrays.items() if not name.startswith("clean.")}
    incomplete = {name: array for name, array in arrays.items() if name != "attack.predicted"}
    for wrong, text in ((without, "'clean' is missing"), (incomplete, "attack.predicted")):
        np.savez(tmp_path / "wrong.npz", **wrong)  # type: ignore[arg-type]
        assert_one_line(run("evaluate", tmp_path / "wrong.npz"), text)


COMMANDS = [
    (), ("acls",), ("baseline",), ("baseline", "diff"), ("baseline", "fit"),
    ("baseline", "keygen"), ("baseline", "show"), ("baseline", "sign"), ("baseline", "verify"),
    ("bench",), ("broker",), ("dashboard",), ("demo",), ("evaluate",), ("experiment",),
    ("experiment", "run"), ("experiment", "scorecard"), ("export",),
    ("export", "violations"),
    ("import",), ("import", "data-capture"), ("import", "debugger"), ("import", "kserve"),
    ("inspect",), ("layers",), ("notify",), ("record",), ("replay",), ("soak",), ("topics",),
    ("traces",), ("worker",),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert len(result.stdout.splitlines()) > 4


def test_every_command_is_known_to_the_tests() -> None:
    known = main.list_commands(click.Context(main))
    assert set(known) == {command[0] for command in COMMANDS if command}


def test_the_version_is_shown() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert __version__ in result.stdout


def test_wrong_usage_has_another_exit_code_than_wrong_files(data: Path) -> None:
    for arguments in (("evaluate", data, "--alpha", "2"), ("nonsense",), ("evaluate", "nowhere")):
        assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("group", [(), ("baseline",), ("experiment",), ("export",), ("import",)])
def test_groups_list_their_commands_with_whole_sentences(group: tuple[str, ...]) -> None:
    result = run(*group, "-h")
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:\n")[2].splitlines()
    assert listed
    for line in listed:
        assert re.fullmatch(r"  [a-z-]+ +[A-Z].*[^.]\.", line), line


def test_an_unknown_command_is_answered_with_the_nearest_one() -> None:
    assert "No such command 'wroker'. Did you mean 'worker'?" in run("wroker").stderr
    assert "Did you mean 'verify'?" in run("baseline", "verfy").stderr
    assert "Did you mean" not in run("xyzzy").stderr


def test_a_misspelt_variable_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWATCH_TOPIC_PREFIXX", "vision.")
    monkeypatch.setenv("LATENTWATCH_SERVICE_HOST", "10.0.0.11")
    result = run("acls", "worker")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: LATENTWATCH_TOPIC_PREFIXX is not a setting and is ignored: "
        "did you mean LATENTWATCH_TOPIC_PREFIX?\n"
    )


@pytest.mark.parametrize("command", [("worker",), ("record", "--out", "unused")])
def test_commands_that_stay_warn_in_the_log(command: tuple[str, ...]) -> None:
    environment = os.environ | {
        "LATENTWATCH_LOG_FORMAT": "json",
        "LATENTWATCH_AVERAGE_RUN_LENGHT": "1000",
        "LATENTWATCH_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "latentwatch", *command],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if line.startswith("{")]
    (event,) = [line for line in map(orjson.loads, lines) if "variable" in line]
    assert event["level"] == "warning"
    assert event["event"] == "unknown environment variable ignored"
    assert event["variable"] == "LATENTWATCH_AVERAGE_RUN_LENGHT"
    assert event["did_you_mean"] == "LATENTWATCH_AVERAGE_RUN_LENGTH"
