"""Alerts that a worker raised are inspected with the messages that Kafka still has."""

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from latentwatch.stream.cli.investigate import inspect


@pytest.fixture
def look(kafka_bootstrap: str, baselines: str, undisturbed: Any, tmp_path: Path) -> Any:
    """Runs ``inspect`` with the settings of the worker."""
    environment = {
        "LATENTWATCH_BOOTSTRAP_SERVERS": kafka_bootstrap,
        "LATENTWATCH_TOPIC_PREFIX": undisturbed.topics.alerts.removesuffix("alerts"),
        "LATENTWATCH_BASELINES": baselines,
    }

    def run(alert_id: str) -> Result:
        return CliRunner().invoke(
            inspect, [alert_id, "--out", str(tmp_path / alert_id)], env=environment
        )

    return run


@pytest.mark.broker
def test_every_alert_is_traced_to_exactly_the_requests_of_its_window(
    look: Any, undisturbed: Any, tmp_path: Path
) -> None:
    alerts = {event["data"]["id"]: event["data"] for event in undisturbed.outputs.alerts}
    assert {data["partition"] for data in alerts.values()} == {0, 1}
    for identity, data in alerts.items():
        result = look(identity)
        assert result.exit_code == 0, (result.output, result.exception)
        page = (tmp_path / identity / "report.html").read_text()
        assert "equal the alert&#39;s to the last bit" in page
        assert f"partition {data['partition']}" in page
        listed = re.findall(r"<code>(signs-[^<]+)</code>", page)
        assert len(listed) == 24
        assert len(set(listed) & undisturbed.recording.attacked) >= 22


@pytest.mark.broker
def test_an_unknown_alert_lists_those_in_the_topic(look: Any, undisturbed: Any) -> None:
    known = undisturbed.outputs.alerts[-1]["data"]["id"]
    result = look("nothing-of-this-name")
    assert result.exit_code == 1
    assert "has no alert 'nothing-of-this-name'" in str(result.exception)
    assert known in str(result.exception)
