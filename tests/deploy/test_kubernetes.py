"""The example for Kubernetes: valid by its schemas, and consistent with the software."""

import re
import time
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from latentwatch import __version__
from latentwatch.stream.cli.main import main
from latentwatch.stream.service.metrics.health import Health
from latentwatch.stream.service.metrics.worker import WorkerMetrics
from latentwatch.stream.settings import Settings
from latentwatch.stream.settings.sources import unknown_variables

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OPERATIONS = FOLDER.parents[1] / "docs" / "operations.md"


def read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


WORKER, NOTIFY = read("worker.yaml"), read("notify.yaml")
ALL = [*WORKER, *NOTIFY]
IDS = [f"{each['kind']}-{each['metadata']['name']}" for each in ALL]


def one(kind: str, among: list[dict[str, Any]] = WORKER) -> dict[str, Any]:
    (found,) = [each for each in among if each["kind"] == kind]
    return found


PODS = [each["spec"]["template"] for each in ALL if "template" in each.get("spec", {})]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["spec"]["containers"]
    return dict(found)


# unhealthyPodEvictionPolicy is stable since 1.31
@pytest.mark.parametrize("version", ["1.31", "1.36"])
@pytest.mark.parametrize("each", ALL, ids=IDS)
def test_kubernetes_understands_every_field(each: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: container(pod)["name"])
def test_containers_have_no_rights_and_are_limited(pod: dict[str, Any]) -> None:
    spec, its = pod["spec"], container(pod)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert its["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(its["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in its["resources"]["limits"]
    assert its["image"] == f"latentwatch:{__version__}"


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: container(pod)["name"])
def test_command_lines_are_what_latentwatch_understands(
    pod: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "targets").touch()
    name, *arguments = container(pod)["args"]
    command = main.get_command(click.Context(main), name)
    assert command is not None
    arguments = [text.replace("/targets", str(tmp_path), 1) for text in arguments]
    command.make_context(name, arguments).close()


def test_variables_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    head = (FOLDER / "worker.yaml").read_text().split("---")[0]
    secret = re.findall(r"--from-literal=(\w+)=", head)
    assert len(secret) == 2
    for name, value in {**one("ConfigMap")["data"], **dict.fromkeys(secret, "x")}.items():
        monkeypatch.setenv(name, value)
    assert unknown_variables(Settings.model_fields) == []
    assert Settings().sasl_username == "x"


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: container(pod)["name"])
def test_settings_come_from_existing_objects(pod: dict[str, Any]) -> None:
    text = (FOLDER / "worker.yaml").read_text()
    assert container(pod)["envFrom"] == [
        {"configMapRef": {"name": one("ConfigMap")["metadata"]["name"]}},
        {"secretRef": {"name": "latentwatch-kafka"}},
    ]
    assert "kubectl create secret generic latentwatch-kafka" in text
    assert pod["spec"]["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]


def test_there_are_no_more_workers_than_partitions() -> None:
    most = one("HorizontalPodAutoscaler")["spec"]["maxReplicas"]
    assert most <= int(one("ConfigMap")["data"]["LATENTWATCH_PARTITIONS"])


def test_an_update_starts_no_spare_worker() -> None:
    deployment = one("Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    # otherwise each apply would undo the work of the autoscaler
    assert "replicas" not in deployment


def test_the_autoscaler_follows_a_metric_that_the_adapter_makes_of_the_worker_s() -> None:
    (metric,) = one("HorizontalPodAutoscaler")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    exposed = WorkerMetrics(Health(20.0, now=time.monotonic())).exposition().decode()
    assert f"# TYPE {name} gauge" in exposed
    (adapter,) = read("prometheus-adapter.yaml")
    (rule,) = adapter["rules"]["custom"]
    assert rule["seriesQuery"].startswith(f"{name}{{")
    assert rule["metricsQuery"].startswith("sum(")


def test_the_autoscaler_scales_the_worker() -> None:
    target = one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    deployment = one("Deployment")
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }


def test_probes_are_those_of_the_docs() -> None:
    worker = container(one("Deployment")["spec"]["template"])
    (block,) = re.findall(r"```yaml\n(livenessProbe:.*?)```", OPERATIONS.read_text(), re.S)
    for name, probe in yaml.safe_load(block).items():
        (port,) = [p["containerPort"] for p in worker["ports"] if p["name"] == "metrics"]
        assert worker[name]["httpGet"]["path"] == probe["httpGet"]["path"]
        assert worker[name]["httpGet"]["port"] == "metrics"
        assert (probe["httpGet"]["port"], one("ConfigMap")["data"]["LATENTWATCH_METRICS_PORT"]) == (
            port,
            str(port),
        )
        timing = ("periodSeconds", "failureThreshold")
        assert [worker[name].get(key) for key in timing] == [probe.get(key) for key in timing]


def test_a_slow_start_is_not_a_fault() -> None:
    probe = container(one("Deployment")["spec"]["template"])["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_selectors_find_their_pods() -> None:
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    spread = one("Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [each["labelSelector"]["matchLabels"] for each in spread] == [labels, labels]
    for pod in PODS:
        chosen = one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
        assert chosen.items() <= pod["metadata"]["labels"].items()
    monitor = read("podmonitor.yaml")[0]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()


def test_prometheus_is_let_in_and_names_the_job_as_the_rules_do() -> None:
    (monitor,) = read("podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (port,) = container(one("Deployment")["spec"]["template"])["ports"]
    assert endpoint["port"] == port["name"]
    assert {"targetLabel": "job", "replacement": "latentwatch"} in endpoint["relabelings"]
    (way_in,) = one("NetworkPolicy")["spec"]["ingress"]
    assert way_in["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]


def test_kafka_s_port_is_open_in_the_policy_and_known_to_the_probe() -> None:
    port = int(one("ConfigMap")["data"]["LATENTWATCH_BOOTSTRAP_SERVERS"].rsplit(":", 1)[1])
    ways = one("NetworkPolicy")["spec"]["egress"]
    assert {"protocol": "TCP", "port": port} in [p for way in ways for p in way["ports"]]
    probe = container(one("Deployment", NOTIFY)["spec"]["template"])["livenessProbe"]
    assert f":{port:04X} 01 " in probe["exec"]["command"]
