"""``latentwatch baseline fit`` on recordings, what it refuses, and ``baseline diff``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from latentwatch.detector import Baseline, compare_baselines
from latentwatch.producers.wire import ActivationBatch
from latentwatch.stream.cli.main import main
from latentwatch.stream.recording import RecordedMessage
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter

HOUR_NS = 3_600 * 10**9
START_NS = 480_000 * HOUR_NS  # 2024-10-04T00:00:00Z
ROWS = 800
MESSAGE = 50

SMALL = ("--longest-window", "32", "--simulated-requests", "2000")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def traffic(seed: int = 1) -> dict[str, Any]:
    """Two well separated classes in two layers, in the order of their time."""
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, 2, ROWS).astype(np.int32)
    return {
        "early": rng.standard_normal((ROWS, 4), np.float32),
        "deep": rng.standard_normal((ROWS, 8), np.float32) + 4.0 * predicted[:, None],
        "predicted": predicted,
    }


def write(url: Path, rows: dict[str, Any], model: str = "signs", version: str = "7") -> Path:
    """Record the rows, two hours of them, on two partitions."""
    writer = RecordingWriter(RecordingFiles(str(url)), most_bytes=10**8, most_seconds=60.0)
    times = START_NS + np.arange(ROWS) * (2 * HOUR_NS // ROWS)
    for number, first in enumerate(range(0, ROWS, MESSAGE)):
        part = slice(first, first + MESSAGE)
        batch = ActivationBatch(
            model=model,
            version=version,
            activations={name: rows[name][part].astype(np.float32) for name in ("early", "deep")},
            predicted=rows["predicted"][part],
            event_time_ns=times[part],
            request_ids=[f"r{n}" for n in range(first, first + MESSAGE)],
            source="/services/signs",
            event_id=f"e{number}",
            time="2024-10-04T00:00:00Z",
        )
        writer.add(RecordedMessage(number % 2, number // 2, batch), now=0.0)
    writer.flush_all()
    return url


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of two quiet hours."""
    return write(tmp_path_factory.mktemp("clean") / "recording", traffic())


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Result]:
    """Fit into a folder of the test's own."""
    return lambda source, *options: run(
        "baseline", "fit", source, "--baselines", tmp_path / "b", *SMALL, *options
    )


def test_a_recording_gives_the_baseline_that_its_rows_give_as_arrays(
    clean: Path, fit: Callable[..., Result], tmp_path: Path
) -> None:
    result = fit(clean)
    assert result.exit_code == 0, result.output
    (warning,) = (line for line in result.stdout.splitlines() if line.startswith("warning"))
    assert warning.startswith("warning: 800 rows are few")
    # model, version and the order of the layers come from the recording
    path = tmp_path / "b" / "signs" / "7.safetensors"
    from_recording = Baseline.load(str(path))

    np.savez(tmp_path / "rows.npz", **traffic())  # type: ignore[arg-type]
    names = ("--model", "signs", "--model-version", "7", "--force")
    assert fit(tmp_path / "rows.npz", *names).exit_code == 0

    found = compare_baselines(from_recording, Baseline.load(str(path)))
    different = {name for name, (one, two) in found.facts.items() if one != two}
    # the last bits of sums depend on where arrays lie in memory
    assert different <= {"SHA-256"}
    assert all(layer.shift < 1e-6 and layer.centre_shift < 1e-5 for layer in found.layers)


def test_a_part_of_a_recording_is_chosen_by_time_and_layer(
    clean: Path, fit: Callable[..., Result]
) -> None:
    result = fit(clean, "--since", "2024-10-04T01", "--layers", "deep")
    assert result.exit_code == 0, result.output
    assert "400, 2" in result.stdout
    assert "deep (8)" in result.stdout
    assert "early" not in result.stdout
    assert "warning: 400 rows are few" in result.stdout


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--layers", "middle"), "lacks middle"),
        (("--model", "cats"), "has nothing of model cats; it holds signs/7"),
        (("--since", "2024-10-04T01:59:59"), "widen them"),
    ],
)
def test_what_a_recording_lacks_is_one_line(
    clean: Path, fit: Callable[..., Result], options: tuple[str, ...], text: str
) -> None:
    result = fit(clean, *options)
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert text in line


def test_a_recording_of_two_models_asks_which(fit: Callable[..., Result], tmp_path: Path) -> None:
    write(tmp_path / "both", traffic())
    write(tmp_path / "both", traffic(2), version="8")
    assert "choose one with --model" in fit(tmp_path / "both").stderr
    assert fit(tmp_path / "both", "--model-version", "8").exit_code == 0


def test_arrays_do_not_say_whose_they_are_or_when(
    fit: Callable[..., Result], tmp_path: Path
) -> None:
    np.savez(tmp_path / "rows.npz", **traffic())  # type: ignore[arg-type]
    assert fit(tmp_path / "rows.npz").exit_code == 2
    names = ("--model", "signs", "--model-version", "7")
    timed = fit(tmp_path / "rows.npz", *names, "--since", "2024-10-04")
    assert timed.exit_code == 2
    assert "has no times" in timed.stderr


def test_poisoned_rows_are_refused_with_their_requests_unless_accepted(
    fit: Callable[..., Result], tmp_path: Path
) -> None:
    rows = traffic()
    wrong = np.flatnonzero(rows["predicted"] == 0)[::20]
    rows["predicted"][wrong] = 1
    url = write(tmp_path / "poisoned", rows)

    refused = fit(url, "--findings", tmp_path / "findings.json")

    assert refused.exit_code == 1
    assert "refused: class 1" in refused.stdout
    assert f"r{wrong[0]}, " in refused.stdout
    assert "--accept poisoned fits all the same" in refused.stderr
    assert not (tmp_path / "b").exists()
    found = orjson.loads((tmp_path / "findings.json").read_bytes())
    assert (found["model"], found["version"], found["rows"]) == ("signs", "7", ROWS)
    named = {name for finding in found["findings"] for name in finding["request_ids"]}
    assert len(named & {f"r{n}" for n in wrong}) > 0.7 * len(wrong)

    accepted = fit(url, "--accept", "poisoned")
    assert accepted.exit_code == 0
    assert "warning: class 1" in accepted.stdout
    assert "choose among poisoned, drift, duplicates" in fit(url, "--accept", "rows").stderr


def test_drift_within_the_period_is_refused_unless_the_period_is_narrowed(
    fit: Callable[..., Result], tmp_path: Path
) -> None:
    rows = traffic()
    rows["early"][: ROWS // 4] += 1.0
    url = write(tmp_path / "drifting", rows)

    refused = fit(url)

    assert refused.exit_code == 1
    assert "changed within the period" in refused.stderr
    assert "from 2024-10-04T00:" in refused.stderr
    assert fit(url, "--since", "2024-10-04T00:30").exit_code == 0


def test_repeated_rows_are_left_out(fit: Callable[..., Result], tmp_path: Path) -> None:
    rows = traffic()
    again = {name: np.concatenate([array, array[:100]]) for name, array in rows.items()}
    np.savez(tmp_path / "rows.npz", **again)  # type: ignore[arg-type]
    result = fit(tmp_path / "rows.npz", "--model", "signs", "--model-version", "7")
    assert result.exit_code == 0
    assert "warning: 100 of 900 rows (11.1%) repeat" in result.stdout
    assert "800, 2" in result.stdout


def test_two_baselines_are_compared_in_tables_and_as_json(
    clean: Path, fit: Callable[..., Result], tmp_path: Path
) -> None:
    fit(clean)
    fit(write(tmp_path / "second", traffic(2), version="8"), "--seed", "3")
    pair = [tmp_path / "b" / "signs" / f"{version}.safetensors" for version in "78"]

    shown = run("baseline", "diff", *pair)

    assert shown.exit_code == 0, shown.output
    for text in ("what was fitted", "version", "alike: model, layers", "threshold of the score",
                 "shares of the classes", "how far the means moved", "early", "deep",
                 "Refitted on similar data"):  # fmt: skip
        assert text in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    found = orjson.loads(run("baseline", "diff", *pair, "--json").stdout)
    assert found["verdict"] == "similar data"
    assert found["facts"]["seed"] == [0, 3]
    assert "the same" in run("baseline", "diff", pair[0], pair[0]).stdout.lower()
    assert run("baseline", "diff", pair[0], tmp_path / "none").exit_code == 1
