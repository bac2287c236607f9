import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from producers.signs.cli import main

TINY = ("--training-images", "512", "--epochs", "1", "--seed", "3")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def prepare(out: Path, cache: str) -> Result:
    return run("prepare", "--out", str(out), "--cache", cache, "--validation-images", "70", *TINY)


def test_prepare_leaves_a_network_samples_and_a_baseline(tmp_path: Path, cache: str) -> None:
    out = tmp_path / "out"
    result = prepare(out, cache)
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


def test_prepare_again_uses_the_cache_and_gives_the_same_rows(tmp_path: Path, cache: str) -> None:
    prepare(tmp_path / "one", cache)
    result = prepare(tmp_path / "two", cache)
    assert "taken from the cache" in result.output
    with (
        np.load(tmp_path / "one" / "validation.npz") as first,
        np.load(tmp_path / "two" / "validation.npz") as second,
    ):
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_export_writes_what_evaluate_reads(tmp_path: Path, cache: str) -> None:
    rows = ("--baseline-rows", "64", "--clean-rows", "40", "--shifted-rows", "8")
    file = tmp_path / "new" / "signs.npz"
    result = run("export", "--out", str(file), "--cache", cache, *rows, *TINY)
    assert result.exit_code == 0, result.output
    with np.load(file) as saved:
        sizes = {
            name.removesuffix(".predicted"): len(saved[name])
            for name in saved
            if name.endswith(".predicted")
        }
    assert sizes == {
        "baseline": 64,
        "clean": 40,
        "pgd_eps03": 8,
        "drift_noise": 8,
        "drift_brightness": 8,
        "drift_blur": 8,
    }


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
    command = [sys.executable, "-W", "error", "-m", "producers.signs", "play", *arguments]
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


@pytest.mark.parametrize("command", ["prepare", "play", "export"])
def test_every_option_is_explained(command: str) -> None:
    for parameter in main.commands[command].params:
        assert getattr(parameter, "help", None), parameter.name
