"""The rights that each role needs on Kafka, and no others.

Read and write include describe, and writing to a topic is enough for an idempotent producer, as
Kafka's own authorizer has it; so neither is asked for beside them.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from latentwatch.stream.kafka.roles import ROLES, Role
from latentwatch.stream.settings import Settings

__all__ = ["Acl", "acls_of", "acls_table", "kafka_acls_commands"]

Operation = Literal["Create", "Describe", "Read", "Write"]


@dataclass(frozen=True, slots=True)
class Acl:
    """Leave to do one thing.

    Parameters
    ----------
    operation
        What may be done.
    resource
        Kind of what it may be done to.
    name
        Its name, or how the name begins.
    prefixed
        Whether it is the beginning of a name.
    """

    operation: Operation
    resource: Literal["Topic", "Group"]
    name: str
    prefixed: bool = False


def acls_of(role: Role, settings: Settings) -> tuple[Acl, ...]:
    """Return what a role needs, with the names of topics and groups that the settings give.

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
            # the group tells it how far the workers are behind
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
    """Return a command line of ``kafka-acls.sh`` for each topic or group of a role.

    Parameters
    ----------
    role, settings
        As for `acls_of`.
    principal
        As Kafka names it: ``User:`` and the user name, or the subject of the certificate.
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
    """Return the Markdown table of the rights of some roles, all by default."""
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
