"""What an experiment keeps beside its journal: hours and alerts, against the truth."""

from __future__ import annotations

from typing import Any

import orjson

from latentwatch.chaos.experiment.measure import (
    attack_delays,
    false_alerts,
    fired,
    fired_about_clients,
    flag_quality,
    hour_rows,
)
from latentwatch.chaos.experiment.system import System

__all__ = ["EVIDENCE", "write_evidence"]

EVIDENCE = "evidence.json"

SHOWN = ("id", "status", "severity", "fired_at", "pattern", "score", "threshold", "contamination")


def write_evidence(system: System) -> dict[str, Any]:
    """Write ``evidence.json`` into the experiment's folder; return what is in it."""
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
