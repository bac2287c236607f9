"""A control of Chaos Toolkit: starts the system under test before the experiment, and stops it.

Its arguments are those of `material.SystemPlan`. The experiment's configuration may hold
``latentwatch_folder``, where logs, truth and evidence go, and ``latentwatch_material``, where
baselines are kept; ``latentwatch experiment run`` sets both.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from chaoslib.exceptions import InterruptExecution

from latentwatch.chaos.experiment.evidence import write_evidence
from latentwatch.chaos.experiment.material import SystemPlan
from latentwatch.chaos.experiment.system import running, start_system, stop_system
from latentwatch.stream.core.errors import StreamError

__all__ = ["FOLDER", "MATERIAL", "after_experiment_control", "before_experiment_control"]

FOLDER, MATERIAL = "latentwatch_folder", "latentwatch_material"

logger = logging.getLogger("chaostoolkit")


def before_experiment_control(
    context: dict[str, Any], configuration: dict[str, Any] | None = None, **plan: Any
) -> None:
    """Start the system; an experiment without one is interrupted, and says why."""
    known = configuration or {}
    folder = Path(known.get(FOLDER, ".chaos/experiment"))
    material = Path(known.get(MATERIAL, ".chaos/material"))
    try:
        start_system(SystemPlan(**plan), folder, material).warm_up()
    except (StreamError, OSError, TypeError) as error:
        raise InterruptExecution(f"the system under test did not start: {error}") from error


def after_experiment_control(context: dict[str, Any], **_plan: Any) -> None:
    """Keep what there is to see, and stop the system, whatever happened."""
    try:
        write_evidence(running())
    except Exception as error:  # the journal matters more than its annex
        logger.warning("no evidence was kept: %s", error)
    finally:
        stop_system()
