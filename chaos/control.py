"""The control for Chaos Toolkit: starts the system under test before an experiment, stops it after.

Its arguments are those of `latentwatch.chaos.experiment.material.SystemPlan`. The experiment's
configuration may set ``latentwatch_folder``, for logs, truth and evidence, and
``latentwatch_material``, where baselines are kept; ``latentwatch experiment run`` sets both.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
from chaoslib.discovery.discover import (
    discover_actions,
    discover_probes,
    initialize_discovery_result,
)
from chaoslib.exceptions import InterruptExecution

from latentwatch import __version__
from latentwatch.chaos.experiment.material import SystemPlan
from latentwatch.chaos.experiment.measure import (
    attack_delays,
    false_alerts,
    fired,
    fired_about_clients,
    flag_quality,
    hour_rows,
)
from latentwatch.chaos.experiment.system import (
    EVIDENCE,
    FOLDER,
    MATERIAL,
    System,
    running,
    start_system,
    stop_system,
)
from latentwatch.stream.core.errors import StreamError

__all__ = [
    "after_experiment_control",
    "before_experiment_control",
    "discovered",
    "write_evidence",
]

SHOWN = ("id", "status", "severity", "fired_at", "pattern", "score", "threshold", "contamination")

logger = logging.getLogger("chaostoolkit")


def before_experiment_control(
    context: dict[str, Any], configuration: dict[str, Any] | None = None, **plan: Any
) -> None:
    """Start the system; if that fails, interrupt the experiment and say why."""
    known = configuration or {}
    folder = Path(known.get(FOLDER, ".chaos/experiment"))
    material = Path(known.get(MATERIAL, ".chaos/material"))
    try:
        start_system(SystemPlan(**plan), folder, material).warm_up()
    except (StreamError, OSError, TypeError) as error:
        raise InterruptExecution(f"the system under test did not start: {error}") from error


def after_experiment_control(context: dict[str, Any], **_plan: Any) -> None:
    """Keep the evidence and stop the system, whatever happened."""
    try:
        write_evidence(running())
    except Exception as error:  # the journal matters more than its annex
        logger.warning("no evidence was kept: %s", error)
    finally:
        stop_system()


def write_evidence(system: System) -> dict[str, Any]:
    """Write ``evidence.json``, hours and alerts against the truth; return its content."""
    seen, truth = system.seen(), system.truth()
    window = system.baseline.longest_window
    wrong = set(false_alerts(seen, truth, window))
    found = {
        "model": f"{system.plan.model}/{system.plan.version}",
        "classifier": system.plan.classifier,
        "baseline_sha256": system.baseline.sha256,
        "average_run_length": system.settings.average_run_length,
        "threshold": system.baseline.threshold(system.settings.average_run_length),
        "traffic": system.played,
        "hours": hour_rows(seen, truth),
        "attacks": attack_delays(seen, truth),
        "flags": flag_quality(seen, truth),
        "alerts": [
            {name: alert[name] for name in SHOWN} | {"is_false": alert["id"] in wrong}
            for alert in fired(seen.outputs)
        ],
        "clients": [
            {name: alert[name] for name in (*SHOWN[:-1], "client")}
            for alert in fired_about_clients(seen.outputs)
        ],
    }
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    (system.folder / EVIDENCE).write_bytes(text)
    return found


def discovered() -> dict[str, Any]:
    """Return what ``chaos discover`` lists: our actions and probes, and no system."""
    found: dict[str, Any] = initialize_discovery_result("latentwatch", __version__, "latentwatch")
    found["activities"].extend(discover_actions("latentwatch.chaos.actions"))
    found["activities"].extend(discover_probes("latentwatch.chaos.probes"))
    return found
