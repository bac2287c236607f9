import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.broker import KAFKA_VERSION
from stream.broker.java import find_java, kafka_jars
from stream.settings import Settings
from stream.settings_sources import PREFIX, unknown_variables

COMPOSE_FILE = Path(__file__).parents[2] / "docker-compose.yml"

SERVICE_COMMANDS = {"topics": "topics", "worker": "worker"}

# The least that the container's entry point expects of its own defaults.
LOG4J = """\
Configuration:
  Properties: {Property: [{name: pattern, value: "%m%n"}]}
  Appenders: {Console: {name: STDOUT}}
  Loggers:
    Root: {level: INFO, AppenderRef: [{ref: STDOUT}]}
    Logger: [{name: kafka, level: INFO}]
"""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return dict(compose["services"])


@pytest.mark.parametrize("service", SERVICE_COMMANDS)
def test_variables_are_those_of_the_settings(
    services: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = services[service]["environment"]
    assert all(name.startswith(PREFIX) for name in environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert unknown_variables(Settings.model_fields) == []
    assert Settings().bootstrap_servers == "kafka:19092"


@pytest.mark.parametrize("service", SERVICE_COMMANDS)
def test_topic_names_are_those_of_the_settings(services: dict[str, Any], service: str) -> None:
    environment = services[service]["environment"]
    named = {name: value for name, value in environment.items() if "_TOPIC_" in name}
    topics = Settings().topics()
    assert named == {
        f"{PREFIX}TOPIC_{role.upper()}": getattr(topics, role) for role in topics.roles()
    }


@pytest.mark.parametrize(("service", "command"), SERVICE_COMMANDS.items())
def test_commands_are_those_of_the_command_line(
    services: dict[str, Any], service: str, command: str
) -> None:
    from stream.cli import main

    assert services[service]["command"] == [command]
    assert command in main.commands


def test_every_service_but_kafka_runs_a_command(services: dict[str, Any]) -> None:
    assert set(services) - {"kafka"} == set(SERVICE_COMMANDS)


def test_kafka_is_the_version_that_the_tests_run_against(services: dict[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_ports_are_open_on_this_machine_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_worker_waits_for_the_topics_and_those_for_kafka(services: dict[str, Any]) -> None:
    healthy = {"condition": "service_healthy"}
    assert services["kafka"]["healthcheck"]["test"]
    assert services["topics"]["depends_on"] == {"kafka": healthy}
    assert services["worker"]["depends_on"] == {
        "kafka": healthy,
        "topics": {"condition": "service_completed_successfully"},
    }


def test_baselines_are_read_only_and_where_the_settings_look(services: dict[str, Any]) -> None:
    folder = services["worker"]["environment"]["LATENTWATCH_BASELINES"]
    assert services["worker"]["volumes"] == [f"./baselines:{folder}:ro"]


@pytest.mark.broker
def test_entry_point_of_the_kafka_image_accepts_the_variables(
    services: dict[str, Any], tmp_path: Path
) -> None:
    defaults, mounted, final = (tmp_path / name for name in ("defaults", "mounted", "final"))
    for folder in (defaults, mounted, final):
        folder.mkdir()
    (defaults / "server.properties").touch()
    for name in ("log4j2.yaml", "tools-log4j2.yaml"):
        (defaults / name).write_text(LOG4J)
    environment = {
        **services["kafka"]["environment"],
        "KAFKA_LOG_DIRS": str(tmp_path / "data"),
        "CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw",
    }
    class_path = os.pathsep.join(map(str, kafka_jars(lambda text: None)))
    folders = ["--default-configs-dir", defaults, "--mounted-configs-dir", mounted]
    folders += ["--final-configs-dir", final]
    done = subprocess.run(
        [find_java(), "-cp", class_path, "kafka.docker.KafkaDockerWrapper", "setup", *folders],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "meta.properties").exists()


def test_docker_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("there is no docker compose on this machine")
    done = subprocess.run(
        [docker, "compose", "--file", COMPOSE_FILE, "config", "--quiet"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
