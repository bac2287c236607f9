"""What to do next: sentences and commands that depend on the alert."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from latentwatch.stream.investigate.alert import AnyAlert, WindowAlert
from latentwatch.stream.investigate.suspicion import Suspicion

__all__ = ["KEEP", "Step", "next_steps", "replay_command"]

MOST_OF = 0.8
"""Share of the suspicious requests above which one sender or class is worth mentioning."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, with a command if there is one."""

    text: str
    command: str = ""


def next_steps(alert: WindowAlert, suspicion: Suspicion, recording: str | None) -> list[Step]:
    """Steps, in the order to take them.

    Parameters
    ----------
    alert : WindowAlert
    suspicion : Suspicion
    recording : str or None
        Where the requests were read from; None for Kafka.
    """
    steps = _drift if alert.pattern == "drift" else _adversarial
    return [
        *_who(suspicion),
        *([] if recording else [KEEP]),
        *steps(alert, recording or "./recording"),
    ]


KEEP = Step(
    "Keep the traffic before Kafka's retention deletes it.",
    "latentwatch record --out ./recording --until-end",
)


def _who(suspicion: Suspicion) -> list[Step]:
    bad = len(suspicion.suspicious)
    if not bad:
        return [
            Step(
                "No single request stands out: the window moved as a whole. Look at the timeline, "
                "and find out what changed at that time."
            )
        ]
    found = []
    sender = suspicion.senders[0]
    if len(suspicion.senders) > 1 and sender.suspicious >= MOST_OF * bad:
        found.append(
            Step(
                f"{sender.suspicious} of the {bad} suspicious requests came through "
                f"{sender.source}: start there, and limit or block that client."
            )
        )
    label, count, _ = suspicion.classes[0]
    if bad > 3 and count >= MOST_OF * bad:
        found.append(
            Step(
                f"{count} of the {bad} suspicious requests were predicted as class {label}: hold "
                "back whatever depends on that answer until you have reviewed them."
            )
        )
    return found


def _adversarial(alert: WindowAlert, recording: str) -> list[Step]:
    return [
        Step(
            "Look at the inputs of the most suspicious requests. An attack may be invisible, so "
            "compare what you see with the predicted class."
        ),
        Step(
            "Replay the recorded traffic without a broker to see where the attack began.",
            replay_command(alert, recording),
        ),
        Step(
            "Check whether a single layer would have shown it earlier (clean recording first).",
            f"latentwatch layers ./clean {shlex.quote(recording)} --model {alert.model} "
            f"--model-version {alert.version}",
        ),
    ]


def _drift(alert: WindowAlert, recording: str) -> list[Step]:
    new = f"./new/{alert.model}/{alert.version}.safetensors"
    return [
        Step(
            "The early layers moved more than the deep ones: look for changed inputs, such as a "
            "new client, different preprocessing, or a dirty camera."
        ),
        Step(
            "Replay the recorded traffic without a broker to see when the change began.",
            replay_command(alert, recording),
        ),
        Step(
            "If the change is permanent, fit a baseline on validation data that include it, and "
            "compare it with the current one.",
            f"latentwatch baseline diff ./baselines/{alert.model}/{alert.version}.safetensors "
            f"{new}",
        ),
    ]


def replay_command(alert: AnyAlert, recording: str) -> str:
    """Command that replays the recorded traffic of the alert's model version."""
    return (
        f"latentwatch replay {shlex.quote(recording)} --offline --out ./replayed "
        f"--model {alert.model} --model-version {alert.version}"
    )
