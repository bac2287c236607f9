"""The demo at a small size: what a newcomer sees first must never break."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOURS, REQUESTS = 3, 640


@pytest.fixture(scope="session")
def network_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained networks, one per seed, shared by the runs."""
    return tmp_path_factory.mktemp("networks")


def run_demo(out: Path, cache: Path, broker: str, seed: int) -> str:
    command = [
        *(sys.executable, "-m", "latentwatch", "demo"),
        *(f"--out={out}", f"--cache={cache}", f"--broker={broker}", f"--seed={seed}"),
        *(f"--hours={HOURS}", f"--requests-per-hour={REQUESTS}"),
        *("--training-images=10000", "--epochs=3", "--validation-images=2000"),
    ]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_attack_was_caught(out: Path) -> None:
    rates = [r for r in rows(out / "detection-rates.jsonl") if r["layer"] == "layer4"]
    hours = [r["hour"] for r in rates]
    assert [r["requests"] for r in rates] == [REQUESTS] * HOURS
    fired = {a["id"]: a["fired_at"] for a in rows(out / "alerts.jsonl")}
    fired_hours = {moment[:13] for moment in fired.values()}
    assert hours[0][:13] not in fired_hours, "a benign hour raised an alert"
    assert hours[1][:13] in fired_hours, "the attacked hour raised none"
    assert rates[0]["flagged"] == 0
    assert rates[1]["contamination"] > 0.15
    truth = {r["request_id"]: r for r in rows(out / "truth.jsonl")}
    flagged = rows(out / "flagged-requests.jsonl")
    assert sum(truth[f["request_id"]]["adversarial"] for f in flagged) >= 0.7 * len(flagged)
    first = rows(out / "alerts.jsonl")[0]
    assert first["status"] == "firing"
    assert first["pattern"] == "adversarial"
    for name in ("demo.png", "samples.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("seed", [0, 1])
def test_benign_hours_raise_no_alert_and_the_attacked_hour_does(
    seed: int, tmp_path: Path, network_cache: Path
) -> None:
    printed = run_demo(tmp_path, network_cache, "kafka", seed)
    assert_attack_was_caught(tmp_path)
    assert "no alert before the attack" in printed
    assert "requests after the start of the attack" in printed


@pytest.mark.slow
def test_the_fallback_broker_shows_the_same(tmp_path: Path, network_cache: Path) -> None:
    printed = run_demo(tmp_path, network_cache, "mock", 0)
    assert_attack_was_caught(tmp_path)
    assert "librdkafka" in printed
