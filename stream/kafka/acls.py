"""The roles of people and programs on Kafka, and the rights that each of them needs.

In Kafka's authorizer, reading and writing include describing, and an idempotent producer only needs
to write to its topic. So neither is listed separately.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from latentwatch.stream.settings import Settings

__all__ = ["ROLES", "Acl", "Role", "acls_of", "acls_table", "kafka_acls_commands"]

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
"""Every role, and what runs under it."""

Operation = Literal["Create", "Describe", "Read", "Write"]


@dataclass(frozen=True, slots=True)
class Acl:
    """Permission for one operation on a topic or a group.

    Parameters
    ----------
    operation
        What is allowed.
    resource
        Kind of the resource that it is allowed on.
    name
        Name of the resource, or its prefix.
    prefixed
        Whether `name` is a prefix.
    """

    operation: Operation
    resource: Literal["Topic", "Group"]
    name: str
    prefixed: bool = False


def acls_of(role: Role, settings: Settings) -> tuple[Acl, ...]:
    """Return the permissions of a role, with the topic and group names of the settings.

    Examples
    --------
    >>> acls_of("recorder", Settings(topic_prefix="vision."))
    (Acl(operation='Read', resource='Topic', name='vision.activations', prefixed=False),)
    """
    topics, group = settings.topics(), settings.application_id
    outputs = (
        topics.alerts,
        topics.flagged_requests,
        topics.detection_rates,
        topics.dead_letter,
    )
    internal = (topics.hour_sketches, topics.lane_state)
    match role:
        case "publisher":
            return _topics(["Write"], [topics.activations])
        case "worker":
            return (
                *_topics(["Read"], [topics.activations]),
                *_topics(["Write"], outputs),
                *_topics(["Read", "Write"], internal),
                Acl("Read", "Group", group),
            )
        case "recorder":
            return _topics(["Read"], [topics.activations])
        case "replayer":
            # the offsets of the group are the lag of the workers
            return (*_topics(["Write"], [topics.activations]), Acl("Describe", "Group", group))
        case "notifier":
            return (
                *_topics(["Read"], [topics.alerts]),
                Acl("Read", "Group", f"{group}-notify-", prefixed=True),
            )
        case "investigator":
            return _topics(["Read"], [topics.activations, topics.alerts])
        case "dashboard":
            return (
                *_topics(["Read"], outputs),
                *_topics(["Describe"], [topics.activations]),
                Acl("Describe", "Group", group),
            )
        case "administrator":
            return _topics(
                ["Create", "Describe"], [getattr(topics, name) for name in topics.roles()]
            )


def _topics(operations: Iterable[Operation], names: Iterable[str]) -> tuple[Acl, ...]:
    wanted = tuple(operations)
    return tuple(Acl(operation, "Topic", name) for name in names for operation in wanted)


def kafka_acls_commands(role: Role, settings: Settings, principal: str) -> list[str]:
    """Return one ``kafka-acls.sh`` command line for each topic or group of a role.

    Parameters
    ----------
    role, settings
        As for `acls_of`.
    principal
        In Kafka's notation: ``User:`` and the user name, or the subject of the certificate.
    """
    start = ["kafka-acls.sh", "--bootstrap-server", settings.bootstrap_servers]
    start += ["--command-config", "admin.properties", "--add", "--allow-principal", principal]
    commands = []
    for (resource, name, prefixed), acls in itertools.groupby(acls_of(role, settings), _place):
        operations = [word for acl in acls for word in ("--operation", acl.operation)]
        where = [f"--{resource.lower()}", name]
        pattern = ["--resource-pattern-type", "prefixed"] if prefixed else []
        commands.append(shlex.join([*start, *operations, *where, *pattern]))
    return commands


def acls_table(settings: Settings, roles: Iterable[Role] = tuple(ROLES)) -> str:
    """Return a Markdown table of the permissions of some roles, all by default."""
    rows = ["| role | who | on | may |", "|---|---|---|---|"]
    for role in roles:
        for (resource, name, prefixed), acls in itertools.groupby(acls_of(role, settings), _place):
            where = f"{resource.lower()} `{name}{'*' if prefixed else ''}`"
            rows.append(
                f"| {role} | {ROLES[role]} | {where} | {', '.join(a.operation for a in acls)} |"
            )
    return "\n".join(rows) + "\n"


def _place(acl: Acl) -> tuple[str, str, bool]:
    return acl.resource, acl.name, acl.prefixed
