"""Compares what the worker published with the truth about the requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from latentwatch.stream.core.outputs import Outputs
from latentwatch.stream.core.times import HOUR_NS, hour_name, parse_timestamp

__all__ = ["Verdict", "judge", "read_truth"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well the attack was detected.

    Parameters
    ----------
    attack_hour : str
        Hour in which the attack starts; empty without any adversarial request.
    benign_hours_with_alert : tuple of str
        Hours before the attack in which an alert fired: false alarms.
    caught : bool
        Whether an alert fired in the attacked hour.
    delay : int or None
        Requests from the start of the attack to the alert.
    delay_adversarial : int or None
        How many of them were adversarial.
    flagged_adversarial, flagged_benign : float
        Share of the adversarial and of the benign requests that were flagged.
    adversarial_by_hour : dict of str to int
    """

    attack_hour: str
    benign_hours_with_alert: tuple[str, ...]
    caught: bool
    delay: int | None
    delay_adversarial: int | None
    flagged_adversarial: float
    flagged_benign: float
    adversarial_by_hour: dict[str, int]


def read_truth(path: Path) -> list[dict[str, Any]]:
    """Rows of truth.jsonl, in the order in which they were sent."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def judge(outputs: Outputs, truth: list[dict[str, Any]]) -> Verdict:
    """Compare alerts and flagged requests with the truth."""
    times = np.array([row["event_time_ns"] for row in truth])
    adversarial = np.array([row["adversarial"] for row in truth])
    ids = outputs.flagged_ids
    flagged = np.array([row["request_id"] in ids for row in truth])
    hours = [hour_name(int(t) // HOUR_NS) for t in times]
    start = int(np.argmax(adversarial)) if adversarial.any() else len(truth)
    attack_hour = hours[start] if start < len(truth) else ""
    fired = sorted({parse_timestamp(alert["fired_at"]) for alert in outputs.alerts})
    after = [t for t in fired if start < len(truth) and t >= times[start]]
    early = {hour_name(t // HOUR_NS) for t in fired if t not in after}
    alarm = int(np.searchsorted(times, after[0], side="right")) if after else None
    return Verdict(
        attack_hour=attack_hour,
        benign_hours_with_alert=tuple(sorted(early)),
        caught=any(hour_name(t // HOUR_NS) == attack_hour for t in after),
        delay=alarm - start if alarm is not None else None,
        delay_adversarial=int(adversarial[start:alarm].sum()) if alarm is not None else None,
        flagged_adversarial=_share(flagged[adversarial]),
        flagged_benign=_share(flagged[~adversarial]),
        adversarial_by_hour={
            hour: sum(a for a, h in zip(adversarial.tolist(), hours, strict=True) if h == hour)
            for hour in dict.fromkeys(hours)
        },
    )


def _share(values: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return float(values.mean()) if len(values) else 0.0
