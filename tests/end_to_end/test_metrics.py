"""A worker's /metrics, /livez and /readyz while it takes in traffic with an attack."""

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.traffic import ROWS

pytestmark = pytest.mark.broker


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a page; (0, b"") while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except urllib.error.URLError:
        return 0, b""


def scrape(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by the metric's name and the values of its labels, in the order of their names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(get(port, "/metrics")[1].decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name.removeprefix("latentwatch_"), {})[labels] = sample.value
    return found


def whole_blocks(recording: Any, model: str) -> int:
    """Windows that are judged: one a block of 32 rows of each lane."""
    partitions = {"signs": 2, "lights": 1}[model]
    rows = sum(n for (name, _), n in recording.requests.items() if name == model)
    return partitions * (rows // partitions // 32)


@pytest.fixture(scope="module")
def scraped(kafka_bootstrap: str, make_service: Any, recording: Any) -> Any:
    """What a worker says after the recording, what it published, and what it said before."""
    port = free_port()
    with make_service(kafka_bootstrap, f"metrics{port}.", metrics_port=port) as service:
        worker = service.start_worker()
        service.wait_until("it answers", lambda: get(port, "/livez")[0] == 200)
        early = get(port, "/readyz")
        service.wait_until("it is ready", lambda: get(port, "/readyz")[0] == 200)
        service.send(recording.messages)
        service.wait_for_requests(recording.requests)
        outputs = service.read()

        def settled() -> bool:
            now = scrape(port)
            flagged = sum(now.get("flagged_requests_total", {}).values())
            told = len(outputs.flagged_requests)
            return flagged == told and not any(now["lag_messages"].values())

        service.wait_until("all is counted", settled)
        found = {
            "early": early,
            "livez": get(port, "/livez"),
            "readyz": get(port, "/readyz"),
            "metrics": scrape(port),
            "outputs": outputs,
        }
        worker.stop()
        assert get(port, "/livez")[0] == 0
        return found


def test_messages_rows_and_windows_are_those_that_were_sent(scraped: Any, recording: Any) -> None:
    metrics = scraped["metrics"]
    rows: Counter[str] = Counter()
    for (model, _), count in recording.requests.items():
        rows[model] += count
    assert metrics["records_total"] == {(): len(recording.messages)}
    assert metrics["rows_total"] == {
        ("signs", "1"): rows["signs"],
        ("lights", "2"): rows["lights"],
        ("other", ""): rows["ghost"],
    }
    assert metrics["unjudged_rows_total"] == {(): rows["ghost"]}
    decisions = metrics["decisions_total"]
    assert decisions["signs", "1"] == whole_blocks(recording, "signs")
    assert decisions["lights", "2"] == whole_blocks(recording, "lights")
    assert rows["ghost"] % ROWS == 0


def test_dead_letters_are_counted_by_reason(scraped: Any, recording: Any) -> None:
    expected = Counter(reason for _, reason in recording.refused)
    counted = {r: n for (r,), n in scraped["metrics"]["dead_letters_total"].items() if n}
    assert counted == dict(expected)
    assert len(scraped["outputs"].dead_letter) == sum(expected.values())


def test_alerts_and_flagged_requests_are_those_that_were_published(scraped: Any) -> None:
    metrics, outputs = scraped["metrics"], scraped["outputs"]
    alerts = Counter(
        (data["model"], data["severity"], data["status"], data["version"])
        for data in (event["data"] for event in outputs.alerts)
    )
    flagged = Counter(
        (data["model"], data["status"], data["version"])
        for data in (event["data"] for event in outputs.flagged_requests)
    )
    assert alerts
    assert flagged
    assert metrics["alerts_total"] == dict(alerts)
    assert metrics["flagged_requests_total"] == dict(flagged)


def test_only_the_attacked_model_exceeds_the_threshold(scraped: Any) -> None:
    exceedances = scraped["metrics"]["exceedances_total"]
    assert exceedances["signs", "1"] > 0
    assert exceedances["lights", "2"] == 0


def test_each_lane_tells_of_its_newest_window(scraped: Any) -> None:
    metrics = scraped["metrics"]
    lanes = {("signs", "0", "1"), ("signs", "1", "1"), ("lights", "1", "2")}
    assert set(metrics["score"]) == set(metrics["threshold"]) == lanes
    assert metrics["alert_firing"] == dict.fromkeys(lanes, 0.0)
    assert {layer for layer, *_ in metrics["T"]} == {"early", "deep", "agreement"}
    assert all(metrics["score"][lane] < metrics["threshold"][lane] for lane in lanes)


def test_batches_and_flushes_are_timed(scraped: Any) -> None:
    metrics = scraped["metrics"]
    for name in ("decision_seconds", "flush_seconds"):
        assert metrics[f"{name}_count"][()] > 0
        assert metrics[f"{name}_sum"][()] > 0


def test_health_pages_say_why(scraped: Any) -> None:
    status, body = scraped["livez"]
    assert (status, json.loads(body)) == (200, {"ok": True, "reason": "0 messages waiting"})
    status, body = scraped["readyz"]
    assert (status, json.loads(body)) == (200, {"ok": True, "reason": "watching 3 partitions"})
    status, body = scraped["early"]
    assert status == 503
    assert json.loads(body)["reason"].startswith(("no partition", "the state is not loaded"))
    assert scraped["metrics"]["lag_messages"] == {("0",): 0, ("1",): 0, ("2",): 0}
    assert scraped["metrics"]["ready"] == {(): 1}


async def send_in_a_transaction(service: Any, messages: list[Any]) -> None:
    options = service.settings.kafka_options()
    async with (
        AIOKafkaProducer(**options, transactional_id="test") as producer,
        producer.transaction(),
    ):
        for partition, key, value, headers in messages:
            await producer.send(service.topics.activations, value, key, partition, headers=headers)


def test_messages_that_wait_are_the_lag_and_markers_of_transactions_are_not(
    kafka_bootstrap: str, make_service: Any, recording: Any
) -> None:
    port = free_port()
    sound = [m for m in recording.messages if m.partition == 0][:5]
    sent = 0

    def lag() -> float:
        return sum(scrape(port).get("lag_messages", {}).values())

    def wait() -> bool:
        # wherever between two flushes they fall: the worker looks every second
        nonlocal sent
        asyncio.run(send_in_a_transaction(service, sound))
        sent += len(sound)
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline and lag() < len(sound):
            time.sleep(0.1)
        return lag() >= len(sound)

    with make_service(
        kafka_bootstrap, f"lag{port}.", metrics_port=port, flush_seconds=5
    ) as service:
        service.start_worker()
        service.wait_until("it is ready", lambda: get(port, "/readyz")[0] == 200)
        service.wait_until("messages wait", wait)
        assert scrape(port)["waiting_seconds"][()] < 20
        service.wait_until(
            "none waits", lambda: scrape(port)["records_total"][()] == sent and lag() == 0
        )
        assert get(port, "/livez")[0] == 200
