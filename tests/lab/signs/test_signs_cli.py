import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from latentwatch.detector import Baseline
from latentwatch.lab.signs.cli import main

TINY = ("--training-images", "512", "--epochs", "1", "--seed", "3")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def prepare(out: Path, cache: str) -> Result:
    return run("prepare", "--out", str(out), "--cache", cache, "--validation-images", "70", *TINY)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Result]:
    """The folder that prepare wrote to, its cache, which was empty before, and what it said."""
    folder = tmp_path_factory.mktemp("prepared")
    out, cache = folder / "out", str(folder / "cache")
    return out, cache, prepare(out, cache)


def test_prepare_leaves_a_network_samples_and_a_baseline(
    prepared: tuple[Path, str, Result],
) -> None:
    out, _, result = prepared
    assert result.exit_code == 0, result.output
    assert "trained in" in result.output
    with np.load(out / "validation.npz") as saved:
        shapes = {name: saved[name].shape for name in saved}
    assert shapes == {
        "baseline.layer1": (70, 16),
        "baseline.layer3": (70, 64),
        "baseline.layer4": (70, 96),
        "baseline.predicted": (70,),
    }
    assert (out / "samples.png").stat().st_size > 10_000
    network = orjson.loads((out / "network.json").read_bytes())
    assert 0 < network["accuracy"] <= 1


def test_prepare_again_uses_the_cache_and_gives_the_same_rows(
    tmp_path: Path, prepared: tuple[Path, str, Result]
) -> None:
    out, cache, _ = prepared
    result = prepare(tmp_path / "two", cache)
    assert "taken from the cache" in result.output
    with (
        np.load(out / "validation.npz") as first,
        np.load(tmp_path / "two" / "validation.npz") as second,
    ):
        assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options of a network that has learnt enough to be attacked, trained by the first command."""
    cache = tmp_path_factory.mktemp("taught")
    return (
        "--cache",
        str(cache),
        "--training-images",
        "1024",
        "--epochs",
        "4",
        "--seed",
        "3",
    )


@pytest.fixture(scope="module")
def exported(taught: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What export writes."""
    rows = ("--baseline-rows", "256", "--clean-rows", "40", "--shifted-rows", "8")
    file = tmp_path_factory.mktemp("exported") / "new" / "signs.npz"
    result = run("export", "--out", str(file), "--eps", "0.02", *rows, *taught)
    assert result.exit_code == 0, result.output
    return file


@pytest.fixture(scope="module")
def fitted(exported: Path) -> Path:
    """The baseline that is fitted on it."""
    with np.load(exported) as saved:
        rows = {name: saved[f"baseline.{name}"] for name in ("layer1", "layer3", "layer4")}
        baseline = Baseline.fit(
            rows,
            saved["baseline.predicted"],
            model="signs",
            version="1",
            classes=18,
            longest_window=32,
            simulated_requests=5_000,
            drop_constant=True,
            rare_classes="pool",
        )
    baseline.save(str(exported.parent / "1.safetensors"))
    return exported.parent / "1.safetensors"


def rows_of_sets(file: Path) -> dict[str, int]:
    with np.load(file) as saved:
        predicted = [name for name in saved if name.endswith(".predicted")]
        return {name.removesuffix(".predicted"): len(saved[name]) for name in predicted}


def test_export_writes_what_evaluate_reads(exported: Path) -> None:
    shifted = [f"{name}_eps02" for name in ("pgd", "pgd_targeted", "fgsm", "feature_match")]
    shifted += [
        f"drift_{kind}_{strength}"
        for kind in ("noise", "blur", "brightness", "fog")
        for strength in (1, 2, 3)
    ]
    assert rows_of_sets(exported) == {"baseline": 256, "clean": 40} | dict.fromkeys(shifted, 8)
    figures = orjson.loads(exported.with_suffix(".json").read_bytes())
    assert list(figures) == shifted[:4]
    assert all(own["eps"] == 0.02 and own["rows"] == 8 for own in figures.values())


def test_adapt_writes_attacks_that_know_the_baseline(
    taught: tuple[str, ...], fitted: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "adaptive.npz"
    options = ("--baseline", str(fitted), "--rows", "5", "--steps", "3", "--eps", "0.05")
    result = run("adapt", "--out", str(file), *options, *taught)
    assert result.exit_code == 0, result.output
    figures = orjson.loads((tmp_path / "new" / "adaptive.json").read_bytes())
    assert rows_of_sets(file) == dict.fromkeys(figures, 5)
    assert len(figures) == 6
    for name, own in figures.items():
        assert name.startswith("adaptive_")
        assert name in result.output
        assert own["eps"] == 0.05
        assert own["rows"] == 5
        assert 0 <= own["success"] <= 1


def test_adapt_says_what_to_give_it_instead_of_something_else(
    taught: tuple[str, ...], exported: Path, tmp_path: Path
) -> None:
    options = ("--baseline", str(exported), "--rows", "5")
    result = run("adapt", "--out", str(tmp_path / "adaptive.npz"), *options, *taught)
    assert result.exit_code == 1
    assert "latentwatch baseline fit" in " ".join(result.output.split())
    assert not (tmp_path / "adaptive.npz").exists()


@pytest.mark.broker
def test_play_runs_as_a_process_of_its_own(
    kafka_bootstrap: str, topic: str, tmp_path: Path, cache: str
) -> None:
    out = tmp_path / "out"
    prepare(out, cache)
    arguments = [
        "--out",
        str(out),
        "--cache",
        cache,
        "--bootstrap-servers",
        kafka_bootstrap,
        "--topic",
        topic,
        "--hours",
        "2",
        "--seed",
        "3",
        "--requests-per-hour",
        "64",
        "--share",
        "0.125",
    ]
    command = [sys.executable, "-W", "error", "-m", "latentwatch.lab.signs", "play", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "128 requests played, none dropped" in " ".join(done.stdout.split())
    assert len((out / "truth.jsonl").read_bytes().splitlines()) == 128
    with np.load(out / "examples.npz") as examples:
        assert len(examples["clean"]) == len(examples["adversarial"]) == 10


def test_play_without_prepare_says_what_to_do(tmp_path: Path, cache: str) -> None:
    result = run(
        "play", "--out", str(tmp_path), "--cache", cache, "--bootstrap-servers", "127.0.0.1:9"
    )
    assert result.exit_code == 1
    assert "run the prepare command" in " ".join(result.output.split())


def test_play_refuses_a_start_within_an_hour(tmp_path: Path, cache: str) -> None:
    result = run(
        "play",
        "--out",
        str(tmp_path),
        "--cache",
        cache,
        "--bootstrap-servers",
        "127.0.0.1:9",
        "--start-time",
        "2026-01-05T08:15:00Z",
    )
    assert result.exit_code == 1
    assert "start of an hour" in result.output


@pytest.mark.parametrize("command", ["prepare", "play", "export", "adapt"])
def test_every_option_is_explained(command: str) -> None:
    for parameter in main.commands[command].params:
        assert getattr(parameter, "help", None), parameter.name
