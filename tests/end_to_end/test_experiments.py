"""An experiment from its file to its report, on the real broker, with a custom classifier."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentwatch.stream.settings.sources import KAFKA_SERVERS_VARIABLE

CLASSIFIER = {
    "classifier": "tests.end_to_end.small_classifier:network",
    "inputs": "tests.end_to_end.small_classifier:draw",
    "layers": "^[24]$",
    "baseline_rows": 1500,
    "simulated_requests": 60_000,
    "warm_up": 320,
    "settings": {"average_run_length": 100_000, "idle_seconds": 1.0},
}


def activity(kind: str, func: str, tolerance: Any = None, **arguments: Any) -> dict[str, Any]:
    provider = {"type": "python", "module": f"latentwatch.chaos.{kind}s", "func": func}
    found = {"type": kind, "name": func, "provider": {**provider, "arguments": arguments}}
    return found if tolerance is None else {**found, "tolerance": tolerance}


EXPERIMENT = {
    "version": "1.0.0",
    "title": "An attack is seen",
    "description": "On a small classifier.",
    "controls": [
        {
            "name": "system",
            "provider": {
                "type": "python", "module": "latentwatch.chaos.control",
                "arguments": CLASSIFIER,
            },
        }
    ],
    "steady-state-hypothesis": {
        "title": "Well",
        "probes": [
            activity("probe", "hours_exact", {"type": "range", "target": "difference",
                                              "range": [0, 0]}),
            activity("probe", "alert_delay", {"type": "range", "target": "requests",
                                              "range": [0, 200]}),
            activity("probe", "false_alerts_raised", 0),
            # what the attack breaks: the experiment has to say so
            activity("probe", "alerts_raised", 0),
        ],
    },
    "method": [
        activity("action", "send_attack", method="pgd", strength=0.25, share=0.5, requests=640,
                 begin=0.5),
        activity("probe", "inference_latency"),
    ],
    "rollbacks": [activity("action", "resume_workers")],
}  # fmt: skip


@pytest.mark.broker
def test_an_experiment_says_what_held_and_what_did_not(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    file = tmp_path / "attack.yaml"
    file.write_text(yaml.safe_dump(EXPERIMENT))

    # in a separate process, because Chaos Toolkit reconfigures logging for the whole process
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "latentwatch", "experiment", "run", str(file), "--out",
             str(tmp_path / "out")],
            env={**os.environ, KAFKA_SERVERS_VARIABLE: kafka_bootstrap},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = run()

    folder = tmp_path / "out" / "attack"
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "deviated  An attack is seen" in done.stdout
    assert "alerts_raised" in done.stdout
    journal = json.loads((folder / "journal.json").read_text())
    before, after = (journal["steady_states"][when]["probes"] for when in ("before", "after"))
    assert [run["tolerance_met"] for run in before] == [True] * 4
    assert before[0]["output"]["requests"] == 320
    assert [run["tolerance_met"] for run in after] == [True, True, True, False]
    assert after[0]["output"] == {"hours": 2, "requests": 960, "difference": 0}
    assert after[1]["output"]["attacks"] == 1
    assert journal["rollbacks"][0]["status"] == "succeeded"
    evidence = json.loads((folder / "evidence.json").read_text())
    assert [row["adversarial"] for row in evidence["hours"]] == [0, 160]
    assert "A weakness" in (folder / "report.html").read_text()

    again = run()
    assert again.returncode == 1
    assert "--force" in again.stderr
