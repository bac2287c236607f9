"""What to do next: a few sentences and commands, by what the alert looks like."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from latentwatch.stream.investigate.alert import AlertEvent, AnyAlert
from latentwatch.stream.investigate.suspicion import Suspicion

__all__ = ["KEEP", "Step", "next_steps", "replay_command"]

MOST_OF = 0.8
"""Share of the suspicious requests from which one sender or class is worth a word."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and the command for it where there is one."""

    text: str
    command: str = ""


def next_steps(alert: AlertEvent, suspicion: Suspicion, recording: str | None) -> list[Step]:
    """Steps in the order in which to take them.

    Parameters
    ----------
    alert : AlertEvent
    suspicion : Suspicion
    recording : str or None
        Where the requests were read from, if not from Kafka.
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
                "No single request stands out: what moved is the whole window. Look at the "
                "timeline and at what changed at that time."
            )
        ]
    found = []
    sender = suspicion.senders[0]
    if len(suspicion.senders) > 1 and sender.suspicious >= MOST_OF * bad:
        found.append(
            Step(
                f"{sender.suspicious} of the {bad} suspicious requests came through "
                f"{sender.source}: ask there first, and limit or block that client."
            )
        )
    label, count, _ = suspicion.classes[0]
    if bad > 3 and count >= MOST_OF * bad:
        found.append(
            Step(
                f"{count} of the {bad} suspicious requests were read as class {label}: hold back "
                "what depends on that answer until they have been looked at."
            )
        )
    return found


def _adversarial(alert: AlertEvent, recording: str) -> list[Step]:
    return [
        Step(
            "Look at the inputs of the most suspicious requests: an attack may be invisible, so "
            "compare what you see with the class that the model gave."
        ),
        Step(
            "Judge the recorded traffic again, without a broker, and see where it began.",
            replay_command(alert, recording),
        ),
        Step(
            "See whether a single layer would have shown it earlier (a clean recording first).",
            f"latentwatch layers ./clean {shlex.quote(recording)} --model {alert.model} "
            f"--model-version {alert.version}",
        ),
    ]


def _drift(alert: AlertEvent, recording: str) -> list[Step]:
    new = f"./new/{alert.model}/{alert.version}.safetensors"
    return [
        Step(
            "The early layers moved more than the deep ones: look for a change of the inputs, "
            "such as a new client, another preprocessing, or a camera that is dirty."
        ),
        Step(
            "Judge the recorded traffic again, without a broker, and see when it began.",
            replay_command(alert, recording),
        ),
        Step(
            "If the change is meant to stay: fit a baseline on validation data that has it, and "
            "see how far it is from the present one.",
            f"latentwatch baseline diff ./baselines/{alert.model}/{alert.version}.safetensors "
            f"{new}",
        ),
    ]


def replay_command(alert: AnyAlert, recording: str) -> str:
    """Judges the recorded traffic of the alert's model version again."""
    return (
        f"latentwatch replay {shlex.quote(recording)} --offline --out ./replayed "
        f"--model {alert.model} --model-version {alert.version}"
    )
