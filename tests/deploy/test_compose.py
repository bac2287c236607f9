"""The Compose file, what it mounts, and the image, as far as they can be tested without Docker."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from latentwatch import __version__
from latentwatch.lab.brokers import KAFKA_VERSION
from latentwatch.lab.brokers.java import find_java, kafka_jars
from latentwatch.lab.signs.cli import main as signs
from latentwatch.lab.signs.traffic import hour_start_ns
from latentwatch.stream.cli.main import main
from latentwatch.stream.dashboard.options import Options, read_token
from latentwatch.stream.settings import Settings
from latentwatch.stream.settings.sources import PREFIX, unknown_variables

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"

COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]

PROFILES = {
    "": {"kafka", "topics", "worker", "dashboard-token", "dashboard"},
    "demo": {"demo-network", "demo-baseline", "demo"},
    "observability": {"notify", "prometheus", "alertmanager", "grafana"},
    "tools": {"kafka-ui"},
}

OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
STAYING = sorted(name for name, service in SERVICES.items() if service["restart"] != "no")
SET = [name for name in OURS if "LATENTWATCH_BASELINES" in SERVICES[name].get("environment", {})]

# the minimum that the entry point of the container expects in its defaults
LOG4J = """\
Configuration:
  Properties: {Property: [{name: pattern, value: "%m%n"}]}
  Appenders: {Console: {name: STDOUT}}
  Loggers:
    Root: {level: INFO, AppenderRef: [{ref: STDOUT}]}
    Logger: [{name: kafka, level: INFO}]
"""


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Source, target and mode of each mount."""
    for mount in service.get("volumes", []):
        source, target, mode = [*mount.split(":"), "rw"][:3]
        yield source, target, mode


def files_of(service: dict[str, Any]) -> dict[str, Path]:
    """Where the files and folders of this project are in the container."""
    return {target: ROOT / source for source, target, _ in mounts(service) if source[0] == "."}


def inside(service: dict[str, Any], path: str) -> Path:
    """The file of this project that a container sees under a path."""
    (target, source), *_ = [
        (target, source)
        for target, source in files_of(service).items()
        if path == target or path.startswith(f"{target}/")
    ]
    return source / path[len(target) :].lstrip("/")


def check(command: click.Command, arguments: list[str]) -> None:
    """Read a command line as the command does, without running it."""
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), arguments[0])
        assert found is not None
        command, arguments = found, arguments[1:]
    command.make_context(command.name, list(arguments)).close()


def test_the_file_is_what_compose_understands() -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ended = subprocess.run([*checker, COMPOSE_FILE], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_profiles_have_their_services() -> None:
    found: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service.get("profiles", [""]):
            found.setdefault(profile, set()).add(name)
    assert found == PROFILES


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_of_one_version(name: str) -> None:
    image, tag = SERVICES[name]["image"].rsplit(":", 1)
    if name in OURS:
        assert image in ("latentwatch", "latentwatch-demo")
        assert tag == __version__
    else:
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


@pytest.mark.parametrize("name", STAYING)
def test_long_running_services_have_health_checks(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]
    assert test[0] == "CMD"
    for port in re.findall(r"(?:127\.0\.0\.1|localhost):(\d+)", " ".join(test)):
        assert any(mapping.endswith(f":{port}") for mapping in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_limited_and_has_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert {"mem_limit", "cpus", "pids_limit", "logging"} <= set(service)
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) is (name != "kafka")
    assert ("cap_add" in service, "user" in service) == (name == "demo-baseline",) * 2


def test_services_with_state_have_time_to_write_it() -> None:
    grace = {name: service.get("stop_grace_period") for name, service in SERVICES.items()}
    assert [
        name for name in ("kafka", "worker", "dashboard", "prometheus") if not grace[name]
    ] == []


def test_ports_are_open_only_on_this_machine_and_each_once() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 7
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_there_is_a_metrics_port_for_each_of_as_many_workers_as_there_are_partitions() -> None:
    (port,) = SERVICES["worker"]["ports"]
    first, last = port.split(":")[1].split("-")
    assert int(last) - int(first) + 1 == Settings().partitions


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for source, _, mode in mounts(SERVICES[name]):
        if source == "./baselines":
            assert mode == ("rw" if name == "demo-baseline" else "ro")
        elif source.startswith("."):
            assert (ROOT / source).exists()
            assert mode == "ro"
        else:
            assert source in COMPOSE["volumes"]


def test_every_volume_is_mounted() -> None:
    mounted = {source for service in SERVICES.values() for source, _, _ in mounts(service)}
    assert set(COMPOSE["volumes"]) <= mounted


@pytest.mark.parametrize("name", SERVICES)
def test_services_wait_for_existing_services(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        profiles = SERVICES[other].get("profiles")
        assert profiles is None or profiles == SERVICES[name]["profiles"]
        stays = other in STAYING
        wanted = "service_healthy" if stays else "service_completed_successfully"
        assert how == {"condition": wanted}


def test_services_that_use_topics_wait_for_them() -> None:
    waiting = {name for name in SERVICES if "topics" in SERVICES[name].get("depends_on", {})}
    assert waiting == {"worker", "dashboard", "notify"}
    assert "worker" in SERVICES["demo"]["depends_on"]


@pytest.mark.parametrize("name", SET)
def test_variables_are_those_of_the_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES[name]["environment"]
    assert all(variable.startswith(PREFIX) for variable in environment)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert unknown_variables(Settings.model_fields) == []
    assert Settings().bootstrap_servers == "kafka:19092"


def test_every_service_that_needs_settings_has_them() -> None:
    assert SET == ["dashboard", "notify", "topics", "worker"]


def test_topic_names_are_those_of_the_settings() -> None:
    environment = COMPOSE["x-settings"]
    named = {name: value for name, value in environment.items() if "_TOPIC_" in name}
    topics = Settings().topics()
    assert named == {
        f"{PREFIX}TOPIC_{role.upper()}": getattr(topics, role) for role in topics.roles()
    }


@pytest.mark.parametrize("name", [name for name in OURS if "entrypoint" not in SERVICES[name]])
def test_command_lines_are_what_latentwatch_understands(name: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * 16)
    # the only folder that must exist when a command line is parsed
    check(main, [text.replace("/var/lib/latentwatch", str(tmp_path))
                 for text in SERVICES[name]["command"]])  # fmt: skip


def test_the_dashboard_is_where_its_port_and_its_probe_are() -> None:
    dashboard = SERVICES["dashboard"]
    assert "--port=8470" in dashboard["command"]
    assert dashboard["ports"] == ["127.0.0.1:8470:8470"]


def test_the_demo_prepares_a_network() -> None:
    service = SERVICES["demo-network"]
    assert service["entrypoint"] == ["python", "-m", "latentwatch.lab.signs"]
    check(signs, service["command"])


def test_the_demo_plays_four_hours_that_are_over() -> None:
    service = SERVICES["demo"]
    (text,) = service["command"]
    text = text.replace("$$", "$").replace("exec python -m latentwatch.lab.signs", "printf '%s\\n'")
    said = subprocess.run(
        [*service["entrypoint"], text], capture_output=True, text=True, check=True
    )
    arguments = said.stdout.splitlines()
    check(signs, arguments)
    (start,) = [text.split("=")[1] for text in arguments if text.startswith("--start-time")]
    age = datetime.now(UTC) - datetime.fromtimestamp(hour_start_ns(start) / 1e9, UTC)
    assert timedelta(hours=4) <= age < timedelta(hours=5, minutes=1)


def test_the_demo_is_judged_by_its_own_baseline() -> None:
    fitted, played = SERVICES["demo-baseline"]["command"], SERVICES["demo"]["command"][0].split()
    assert {"--model=traffic-signs", "--model-version=demo"} <= set(fitted)
    assert {"--model=traffic-signs", "--version=demo"} <= set(played)
    folder = SERVICES["worker"]["environment"]["LATENTWATCH_BASELINES"]
    assert f"--baselines={folder}" in fitted
    assert f"./baselines:{folder}:ro" in SERVICES["worker"]["volumes"]
    assert f"./baselines:{folder}" in SERVICES["demo-baseline"]["volumes"]


def make_token(file: Path, token: str = "") -> str:
    script = inside(SERVICES["dashboard-token"], "/make_token.py")
    environment = {**os.environ, "LATENTWATCH_DASHBOARD_TOKEN": token}
    ended = subprocess.run(
        [sys.executable, script, file], env=environment, capture_output=True, text=True, check=True
    )
    return ended.stdout + ended.stderr


def test_a_token_is_generated_once_kept_from_others_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    said = make_token(file)
    token = read_token(file)
    Options(history=tmp_path / "h.sqlite", host="0.0.0.0", token=token)
    assert file.stat().st_mode & 0o777 == 0o400
    said += make_token(file)
    assert read_token(file) == token
    assert token not in said


def test_a_given_token_replaces_the_generated_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    make_token(file)
    said = make_token(file, "a token of my own")
    assert read_token(file) == "a token of my own"
    assert "my own" not in said
    (variable,) = SERVICES["dashboard-token"]["environment"]
    assert SERVICES["dashboard-token"]["environment"][variable] == f"${{{variable}:-}}"


def test_kafka_is_the_version_that_the_tests_run_against() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


@pytest.mark.broker
def test_entry_point_of_the_kafka_image_accepts_the_variables(tmp_path: Path) -> None:
    defaults, mounted, final = (tmp_path / name for name in ("defaults", "mounted", "final"))
    for folder in (defaults, mounted, final):
        folder.mkdir()
    (defaults / "server.properties").touch()
    for name in ("log4j2.yaml", "tools-log4j2.yaml"):
        (defaults / name).write_text(LOG4J)
    environment = {
        **SERVICES["kafka"]["environment"],
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
    profiles = [f"--profile={name}" for name in PROFILES if name]
    done = subprocess.run(
        [docker, "compose", "--file", COMPOSE_FILE, *profiles, "config", "--quiet"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
