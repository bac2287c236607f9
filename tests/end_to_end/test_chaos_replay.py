"""Experiments on a real Kafka: a model thief is named, a recording is replayed and counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from latentwatch.chaos import actions, probes
from latentwatch.chaos.experiment.material import SystemPlan
from latentwatch.chaos.experiment.measure import fired_about_clients
from latentwatch.chaos.experiment.system import System, start_system, stop_system
from latentwatch.chaos.traffic.errors import ExperimentError
from latentwatch.stream.cli.main import main
from latentwatch.stream.settings.sources import KAFKA_SERVERS_VARIABLE

pytestmark = pytest.mark.broker

PLAN = SystemPlan(
    classifier="tests.end_to_end.tiny:network",
    inputs="tests.end_to_end.tiny:inputs",
    layers="^deep$",
    baseline_rows=1_200,
    simulated_requests=200_000,
    settings={"average_run_length": 100_000},
)


@pytest.fixture
def system(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[System]:
    monkeypatch.setenv(KAFKA_SERVERS_VARIABLE, kafka_bootstrap)
    started = start_system(PLAN, tmp_path / "run", tmp_path / "material")
    try:
        yield started
    finally:
        stop_system()


def test_a_model_thief_is_named_and_a_recording_is_replayed_and_counted(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions.send_traffic(800)
    actions.send_attack("pgd", share=0.5, requests=640, strength=1.0)
    assert probes.hours_exact()["difference"] == 0
    assert isinstance(probes.alert_delay()["requests"], int)
    assert probes.copier_delay() == {"queries": 0, "others": 0}
    actions.send_attack("extraction", share=0.5, requests=640, strength=0.3)
    named = probes.copier_delay()
    assert 20 < named["queries"] < 200
    assert named["others"] == 0

    recording = str(tmp_path / "recording")
    for name, value in system.settings.environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["record", "--out", recording, "--until-end"])
    assert done.exit_code == 0, done.output
    (copier,) = fired_about_clients(system.seen().outputs)
    done = CliRunner().invoke(main, ["inspect", copier["id"], "--out", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    assert "equals the alert&#39;s" in (tmp_path / "report" / "report.html").read_text()

    with pytest.raises(ExperimentError, match="exit code"):
        actions.replay_recording(str(tmp_path / "nothing"))
    assert actions.replay_recording(recording) == 2_080
    assert probes.hours_exact()["difference"] == 0
    assert probes.false_alerts_raised() == 0
    counted = [row["requests"] for row in system.seen().outputs.hours("deep")]
    assert counted == [1_600, 1_280, 1_280]
