"""Probes of experiments. They return figures; the experiment's tolerances say which are right.

Without anything to measure, a probe returns the figure of a healthy system, because the hypothesis
is also checked before anything is broken. "never" replaces a number that does not exist, so that it
fails every range. Probes with a ``timeout`` wait up to that many seconds for a good result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from latentwatch.chaos.experiment.measure import (
    NEVER,
    attack_delays,
    extraction,
    false_alerts,
    fired,
    flag_quality,
    hour_rows,
    hours_difference,
)
from latentwatch.chaos.experiment.outputs import dead_letters, messages_behind
from latentwatch.chaos.experiment.system import running

__all__ = [
    "alert_delay",
    "alerts_raised",
    "caught_up",
    "contamination_error",
    "copier_delay",
    "detection_rates",
    "false_alerts_raised",
    "flagged_requests",
    "hours_exact",
    "inference_latency",
    "lag",
    "pattern_named",
    "poison_accepted",
    "refused_messages",
    "workers_running",
]

LOOK_SECONDS = 0.5

Value = TypeVar("Value")


def _patiently(
    look: Callable[[], Value], is_good: Callable[[Value], bool], timeout: float
) -> Value:
    """Look until the result is good, or for `timeout` seconds."""
    deadline = time.monotonic() + timeout
    value = look()
    while not is_good(value) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        value = look()
    return value


def hours_exact(timeout: float = 60.0) -> dict[str, Any]:
    """Whether every hour counts every request once, in every layer.

    Returns
    -------
    dict
        ``hours``, ``requests`` sent, and the ``difference``: requests too few or too many.
    """
    system = running()

    def look() -> dict[str, Any]:
        truth = system.truth()
        difference = hours_difference(system.seen(), truth)
        return {"hours": len(truth.in_hours()), "requests": len(truth), "difference": difference}

    return _patiently(look, lambda found: found["difference"] == 0, timeout)


def alert_delay(timeout: float = 30.0) -> dict[str, Any]:
    """How late attacks were detected: the longest delay of all stretches with an attack.

    Returns
    -------
    dict
        ``attacks``, and for the one detected latest: ``requests`` since its first adversarial one,
        ``adversarial`` ones among them, ``seconds`` by the clock; 0 without an attack, "never" if
        one was not detected.
    """
    system = running()

    def look() -> dict[str, Any]:
        found = attack_delays(system.seen(), system.truth())
        worst = max(
            found,
            key=lambda one: np.inf if one["requests"] == NEVER else one["requests"],
            default={"requests": 0, "adversarial": 0, "seconds": 0},
        )
        return {"attacks": len(found), **worst}

    return _patiently(look, lambda found: found["requests"] != NEVER, timeout)


def copier_delay(timeout: float = 30.0) -> dict[str, Any]:
    """How late an alert named the client that copies the classifier.

    Returns
    -------
    dict
        ``queries`` of the copier up to the alert, 0 without a copier, "never" without an alert;
        and ``others``: number of alerts about other clients.
    """
    system = running()
    return _patiently(
        lambda: extraction(system.seen(), system.truth()),
        lambda found: found["queries"] != NEVER,
        timeout,
    )


def alerts_raised() -> int:
    """Number of alerts about windows of requests."""
    return len(fired(running().seen().outputs))


def false_alerts_raised() -> int:
    """Number of alerts whose window held only benign requests."""
    system = running()
    return len(false_alerts(system.seen(), system.truth(), system.baseline.longest_window))


def pattern_named() -> str:
    """The pattern that the alerts report: adversarial, drift, both, or none without an alert."""
    names = {alert["pattern"] for alert in fired(running().seen().outputs)}
    return names.pop() if len(names) == 1 else "both" if names else "none"


def flagged_requests() -> dict[str, Any]:
    """How many requests were ``flagged``, their ``precision``, and the ``recall`` of the attack."""
    system = running()
    return flag_quality(system.seen(), system.truth())


def detection_rates() -> dict[str, float]:
    """Highest rate of the hours without an attack (``benign``), lowest with one (``attacked``).

    Without such hours they are 0 and 1.
    """
    rows = _hours()
    benign = [row["detection_rate"] or 0.0 for row in rows if not row["adversarial"]]
    attacked = [row["detection_rate"] or 0.0 for row in rows if row["adversarial"]]
    return {"benign": max(benign, default=0.0), "attacked": min(attacked, default=1.0)}


def contamination_error() -> dict[str, float]:
    """Largest error of the estimated contamination of an hour.

    Returns
    -------
    dict
        ``error``, and ``bound_exceeds``: the most by which a lower bound is above the truth.
    """
    errors, above = [0.0], [0.0]
    for row in _hours():
        share = row["adversarial"] / row["sent"]
        errors.append(abs((row["contamination"] or 0.0) - share))
        above.append((row["contamination_lower_bound"] or 0.0) - share)
    return {"error": round(max(errors), 4), "bound_exceeds": round(max(above), 4)}


def _hours() -> list[dict[str, Any]]:
    system = running()
    return hour_rows(system.seen(), system.truth())


def lag() -> int:
    """Number of messages that are not committed."""
    return messages_behind(running().settings)


def caught_up(timeout: float = 60.0) -> dict[str, Any]:
    """How long the workers took to catch up after the latest fault.

    Returns
    -------
    dict
        ``lag`` in messages, and ``seconds`` since the fault; 0 without one, "never" if they have
        not caught up in time.
    """
    system = running()
    behind = _patiently(lag, lambda found: found == 0, timeout)
    if behind:
        return {"lag": behind, "seconds": NEVER}
    since = 0.0 if system.fault_at is None else time.monotonic() - system.fault_at
    return {"lag": 0, "seconds": round(since, 1)}


def workers_running() -> int:
    """Workers that have not ended; a paused one counts."""
    return sum(worker.is_running for worker in running().workers)


def refused_messages() -> int:
    """Messages in the dead-letter topic."""
    return dead_letters(running().settings)


def poison_accepted() -> int:
    """Number of poisoned sources that a baseline was fitted on."""
    return sum(not fitting["refused"] for fitting in running().fittings)


def inference_latency() -> dict[str, float]:
    """``median`` and ``p99`` of a batch of 64 in the latest stretch, capture included, in ms."""
    played = running().played
    latency: dict[str, float] = played[-1]["latency_ms"] if played else {"median": 0.0, "p99": 0.0}
    return latency
