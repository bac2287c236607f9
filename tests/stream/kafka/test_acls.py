"""The permissions of each role: on which topics, and how they are printed."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from latentwatch.stream.cli.main import main
from latentwatch.stream.kafka.acls import ROLES, Role, acls_of, acls_table, kafka_acls_commands
from latentwatch.stream.settings import Settings

DOCS = Path(__file__).parents[3] / "docs" / "security.md"
SETTINGS = Settings(topic_prefix="vision.", application_id="eyes", bootstrap_servers="kafka:9093")


@pytest.mark.parametrize("role", ROLES)
def test_names_are_those_of_the_settings(role: Role) -> None:
    for acl in acls_of(role, SETTINGS):
        assert acl.name.startswith("vision." if acl.resource == "Topic" else "eyes")


def test_nobody_both_writes_activations_and_reads_alerts() -> None:
    for role in ROLES:
        rights = {(acl.operation, acl.name) for acl in acls_of(role, Settings())}
        assert not rights >= {("Write", "activations"), ("Read", "alerts")}


def test_alerts_are_written_by_workers_alone() -> None:
    writers = {
        role
        for role in ROLES
        for acl in acls_of(role, Settings())
        if acl.operation == "Write" and acl.name != "activations"
    }
    assert writers == {"worker"}


def test_each_topic_and_group_has_a_command_with_all_that_is_allowed_on_it() -> None:
    commands = [shlex.split(c) for c in kafka_acls_commands("worker", SETTINGS, "User:CN=a b")]
    assert len(commands) == 8
    for words in commands:
        assert words[:3] == ["kafka-acls.sh", "--bootstrap-server", "kafka:9093"]
        assert words[words.index("--allow-principal") + 1] == "User:CN=a b"
    (states,) = [words for words in commands if "vision.lane-state" in words]
    assert [states[i + 1] for i, word in enumerate(states) if word == "--operation"] == [
        "Read",
        "Write",
    ]


def test_groups_of_targets_are_allowed_by_the_beginning_of_their_names() -> None:
    *_, command = kafka_acls_commands("notifier", SETTINGS, "User:bell")
    assert command.endswith(
        "--operation Read --group eyes-notify- --resource-pattern-type prefixed"
    )


def test_the_command_prints_them() -> None:
    environment = {"LATENTWATCH_TOPIC_PREFIX": "vision."}
    done = CliRunner().invoke(main, ["acls", "recorder"], env=environment)
    assert done.exit_code == 0
    assert "User:latentwatch-recorder --operation Read --topic vision.activations" in done.stdout
    table = CliRunner().invoke(main, ["acls", "recorder", "--markdown"], env=environment)
    assert "| topic `vision.activations` | Read |" in table.stdout


def test_a_principal_has_a_kind_and_a_name() -> None:
    for principal in ("bob", "User:", "Group:ops"):
        done = CliRunner().invoke(main, ["acls", "worker", "--principal", principal])
        assert done.exit_code == 2
        assert "write User: and a name" in done.stderr


def test_documentation_has_the_table_of_rights() -> None:
    assert acls_table(Settings()) in DOCS.read_text(), (
        "docs/security.md is out of date; put what stream.kafka.acls.acls_table(Settings()) "
        "returns in place of its table"
    )
