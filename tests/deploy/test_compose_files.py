"""The contents of the image, and the files of Prometheus, Alertmanager and Grafana."""

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_compose import COMPOSE, COMPOSE_FILE, ROOT, SERVICES, files_of, inside

DOCKERFILE = (ROOT / "Dockerfile").read_text()
REQUIREMENTS = ROOT / "deploy" / "docker" / "requirements.py"
PROMETHEUS = inside(SERVICES["prometheus"], "/etc/prometheus/prometheus.yml")
ALERTMANAGER = inside(SERVICES["alertmanager"], "/etc/alertmanager/alertmanager.yml")


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def run(*command: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def flags_of(name: str) -> dict[str, str]:
    return dict(text.removeprefix("--").split("=", 1) for text in SERVICES[name]["command"])


def test_the_image_is_made_of_files_that_reach_docker() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    ]
    assert len(copied) > 5
    for source in copied:
        assert (ROOT / source).exists()
        assert any(source == name or source.startswith(f"{name}/") for name in allowed)


def test_the_file_names_existing_targets_of_the_image() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.M))
    builds = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert builds == {"service", "demo"}
    assert builds <= targets
    # the last is what `docker build` makes without --target
    assert DOCKERFILE.index(" AS service") > DOCKERFILE.index(" AS demo")


def test_folders_of_the_image_that_volumes_cover_belong_to_its_user() -> None:
    assert "USER 10001" in DOCKERFILE
    made = re.findall(r"install --directory --owner latentwatch --mode \d+ (\S+)", DOCKERFILE)
    written = {"dashboard": "/var/lib/latentwatch", "demo": "/demo"}
    for name, folder in written.items():
        assert folder in made
        assert f"{name.split('-')[0]}-data:{folder}" in SERVICES[name]["volumes"]


@pytest.mark.parametrize(
    "arguments", re.findall(r"python requirements.py (.*?) > ", DOCKERFILE), ids=str
)
def test_the_image_has_the_extras_that_it_names(arguments: str) -> None:
    ended = run(sys.executable, REQUIREMENTS, *arguments.split())
    assert ended.returncode == 0, ended.stderr
    names = {re.split(r"[\[<>=~!]", line)[0] for line in ended.stdout.splitlines()}
    assert {"faust-streaming", "numpy"} <= names
    assert ("torch" in names) == ("--without torch" not in arguments)


def test_an_unknown_extra_is_an_error() -> None:
    ended = run(sys.executable, REQUIREMENTS, "metrics", "nonsense")
    assert (ended.returncode, ended.stderr.split(":")[0]) == (1, "there is no extra nonsense")


def test_what_the_image_runs_needs_no_torch() -> None:
    program = (
        "import sys\n"
        "from latentwatch.stream import service, kafka, notify, dashboard, cli\n"
        "import latentwatch.stream.service.app, latentwatch.stream.kafka.topics\n"
        "import latentwatch.stream.service.metrics.worker, latentwatch.stream.notify.run\n"
        "import latentwatch.stream.dashboard.run, latentwatch.stream.cli.baseline\n"
        "print('torch' in sys.modules)\n"
    )
    ended = run(sys.executable, "-c", program)
    assert ended.stdout == "False\n", ended.stderr


@pytest.mark.parametrize("state", ["connected", "listening"])
def test_the_probe_of_notify_detects_a_connection_to_kafka(state: str) -> None:
    if not Path("/proc/net/tcp6").exists():
        pytest.skip("only Linux lists connections there")
    _, *grep = SERVICES["notify"]["healthcheck"]["test"]
    assert f":{19092:04X} 01 " in grep
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        probe = [text.replace("4A94", f"{port:04X}") for text in grep]
        if state == "connected":
            with socket.create_connection(("127.0.0.1", port)):
                assert run(*probe).returncode == 0
        else:
            assert run(*probe).returncode == 1


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool comes with Debian's prometheus")
def test_prometheus_accepts_its_file() -> None:
    ended = run("promtool", "check", "config", PROMETHEUS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert flags_of("prometheus")["config.file"] == "/etc/prometheus/prometheus.yml"


@pytest.mark.skipif(not shutil.which("amtool"), reason="amtool: Debian's prometheus-alertmanager")
def test_alertmanager_accepts_its_file() -> None:
    ended = run("amtool", "check-config", ALERTMANAGER)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert flags_of("alertmanager")["config.file"] == "/etc/alertmanager/alertmanager.yml"


def test_prometheus_scrapes_all_workers_under_the_job_of_the_rules_and_knows_alertmanager() -> None:
    config = read_yaml(PROMETHEUS)
    (job,) = config["scrape_configs"]
    (lookup,) = job["dns_sd_configs"]
    rules = (PROMETHEUS.parent / "rules.yml").read_text()
    assert f'up{{job="{job["job_name"]}"}}' in rules
    assert (lookup["names"], lookup["port"]) == (["worker"], 9464)
    assert SERVICES["worker"]["environment"]["LATENTWATCH_METRICS_PORT"] == "9464"
    (alertmanager,) = config["alerting"]["alertmanagers"]
    assert alertmanager["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert SERVICES["alertmanager"]["ports"] == ["127.0.0.1:9093:9093"]


def test_notify_sends_to_the_alertmanager_of_the_file() -> None:
    assert "alertmanager=alertmanager+http://alertmanager:9093" in SERVICES["notify"]["command"]


def test_alertmanager_inhibits_only_existing_alerts() -> None:
    from latentwatch.stream.notify.alertmanager import ALERT_NAME

    groups = read_yaml(PROMETHEUS.parent / "rules.yml")["groups"]
    known = {rule["alert"] for group in groups for rule in group["rules"]} | {ALERT_NAME}
    named = re.findall(r"\bLatentwatch\w+", json.dumps(read_yaml(ALERTMANAGER)))
    assert len(named) == 6
    assert set(named) <= known


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    grafana = SERVICES["grafana"]
    folder = "/etc/grafana/provisioning"
    (source,) = read_yaml(inside(grafana, f"{folder}/datasources/prometheus.yml"))["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert source["isDefault"] is True
    (provider,) = read_yaml(inside(grafana, f"{folder}/dashboards/latentwatch.yml"))["providers"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.rsplit("/", 1)[0] == provider["options"]["path"]
    assert json.loads(files_of(grafana)[home].read_text())["uid"] == "latentwatch"


def test_grafana_is_read_only() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_panels_of_the_dashboard_lie_side_by_side() -> None:
    panels = json.loads((ROOT / "deploy" / "grafana" / "latentwatch.json").read_text())["panels"]
    places = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places
        assert at["x"] + at["w"] <= 24
        places |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_profiles_and_services_of_the_docs_are_those_of_the_file() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    profiles = {name for service in SERVICES.values() for name in service.get("profiles", [])}
    assert set(re.findall(r"--profile (\w+)", page)) == profiles
    for name in re.findall(r"docker compose (?:exec|logs|run --rm) ([\w-]+)", page):
        assert name in SERVICES
    for name, target in re.findall(r"http://localhost:(\d+)[^|]*\| `([\w-]+)`", page):
        assert any(port.startswith(f"127.0.0.1:{name}") for port in SERVICES[target]["ports"])


def test_the_names_of_the_project_are_the_same_everywhere() -> None:
    assert COMPOSE["name"] == "latentwatch"
    assert COMPOSE_FILE.name in (ROOT / "docs" / "deploy.md").read_text()
