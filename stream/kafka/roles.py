"""The parts that people and programs play on the broker."""

from __future__ import annotations

from typing import Literal

__all__ = ["ROLES", "Role"]

Role = Literal[
    "publisher",
    "worker",
    "recorder",
    "replayer",
    "notifier",
    "investigator",
    "dashboard",
    "administrator",
]

ROLES: dict[Role, str] = {
    "publisher": "a service that publishes activations",
    "worker": "`latentwatch worker`",
    "recorder": "`latentwatch record`",
    "replayer": "`latentwatch replay`",
    "notifier": "`latentwatch notify`",
    "investigator": "`latentwatch inspect`",
    "dashboard": "`latentwatch dashboard`",
    "administrator": "`latentwatch topics`",
}
"""Every role, and who has it."""
