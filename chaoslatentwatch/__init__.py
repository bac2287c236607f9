"""What Chaos Toolkit looks for: the actions and probes of latentwatch.

Extensions of Chaos Toolkit are packages named ``chaos...``; it takes the first package of a
distribution for the extension, and this one comes first. Everything else is in `stream.chaos`.
"""

from __future__ import annotations

from typing import Any

from chaoslib.discovery.discover import (
    discover_actions,
    discover_probes,
    initialize_discovery_result,
)

from stream.version import VERSION

__all__ = ["discover"]


def discover(discover_system: bool = True) -> dict[str, Any]:
    """List actions and probes; there is no system to discover before an experiment starts one."""
    found: dict[str, Any] = initialize_discovery_result("latentwatch", VERSION, "latentwatch")
    found["activities"].extend(discover_actions("stream.chaos.actions"))
    found["activities"].extend(discover_probes("stream.chaos.probes"))
    return found
