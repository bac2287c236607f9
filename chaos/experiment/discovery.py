"""What Chaos Toolkit's ``discover`` lists: the actions and probes of an experiment."""

from __future__ import annotations

from typing import Any

from chaoslib.discovery.discover import (
    discover_actions,
    discover_probes,
    initialize_discovery_result,
)

from latentwatch import __version__

__all__ = ["discovered"]


def discovered() -> dict[str, Any]:
    """Actions and probes; there is no system to discover before an experiment starts one."""
    found: dict[str, Any] = initialize_discovery_result("latentwatch", __version__, "latentwatch")
    found["activities"].extend(discover_actions("latentwatch.chaos.experiment.actions"))
    found["activities"].extend(discover_probes("latentwatch.chaos.experiment.probes"))
    return found
