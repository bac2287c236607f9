"""What is counted, as the real processor reports it; read as Prometheus reads it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from latentwatch import __version__
from latentwatch.producers.prometheus import PublisherCollector
from latentwatch.producers.wire import Limits
from latentwatch.stream.core.lane import LaneKey
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.processor import Incoming, Processor
from latentwatch.stream.service.baselines import BaselineStore
from latentwatch.stream.service.metrics import LaneReport
from latentwatch.stream.service.metrics.health import Health
from latentwatch.stream.service.metrics.names import MOST_NAMES
from latentwatch.stream.service.metrics.worker import WorkerMetrics
from latentwatch.stream.settings import Settings

ROOT = Path(__file__).parents[4]
NOW_NS = 1_750_000_000 * 10**9

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(metrics: WorkerMetrics) -> Series:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name.removeprefix("latentwatch_"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


@pytest.fixture
def health() -> Health:
    return Health(20.0, now=0.0)


@pytest.fixture
def metrics(health: Health) -> WorkerMetrics:
    return WorkerMetrics(health, clock=lambda: 30.0, clock_ns=lambda: NOW_NS)


@pytest.fixture
def processor(metrics: WorkerMetrics, baselines_folder: str, policy: Policy) -> Processor:
    return Processor(
        Settings().topics(),
        BaselineStore(baselines_folder, lambda: 0.0, average_run_length=100_000).find,
        policy,
        limits=Limits(),
        newest_ns=lambda: NOW_NS,
        observer=metrics,
    )


def report(model: str, judged: bool = True, rows: int = 1, clients: int = 0) -> LaneReport:
    return LaneReport(LaneKey(model, "1", 0), judged, rows, 0, 0, None, 0, False, clients)


def test_rows_and_windows_are_counted_as_they_are_judged(
    metrics: WorkerMetrics, processor: Processor, requests: Any
) -> None:
    processor.take([requests.incoming(n, 40 * n, 40) for n in range(4)])
    series = read(metrics)
    assert value(series, "rows_total", model="signs", version="1") == 160
    assert value(series, "decisions_total", model="signs", version="1") == 5
    assert value(series, "exceedances_total", model="signs", version="1") == 0
    processor.take([requests.incoming(3, 120, 40)])  # came again
    assert read(metrics) == series


def test_an_attack_shows_in_the_score_the_exceedances_and_the_alert(
    metrics: WorkerMetrics, processor: Processor, requests: Any
) -> None:
    lane = {"model": "signs", "version": "1", "partition": "0"}
    processor.take([requests.incoming(0, 0, 128)])
    calm = read(metrics)
    processor.take([requests.incoming(1, 128, 64, attacked=True)])
    series = read(metrics)
    assert value(calm, "score", **lane) < value(calm, "threshold", **lane)
    assert value(series, "score", **lane) >= value(series, "threshold", **lane)
    assert value(series, "score", **lane) >= value(series, "layer_score", **lane, layer="deep")
    assert value(series, "E", **lane, layer="deep") > value(calm, "E", **lane, layer="deep")
    assert value(series, "exceedances_total", model="signs", version="1") == 2
    assert (value(calm, "alert_firing", **lane), value(series, "alert_firing", **lane)) == (0, 1)
    alerts = {labels: n for (name, labels), n in series.items() if name == "alerts_total"}
    assert sum(alerts.values()) == 1
    assert ("status", "firing") in next(iter(alerts))


def test_lanes_that_another_worker_has_show_no_longer_and_stay_counted(
    metrics: WorkerMetrics, processor: Processor, requests: Any
) -> None:
    processor.take([requests.incoming(0, 0, 64)])
    assert {"score", "alert_firing", "event_time_age_seconds"} <= {
        name for name, _ in read(metrics)
    }
    processor.revoke(0)
    series = read(metrics)
    assert not {"score", "alert_firing", "event_time_age_seconds"} & {name for name, _ in series}
    assert value(series, "rows_total", model="signs", version="1") == 64


def test_a_lane_that_is_taken_over_shows_its_firing_alert_before_any_message(
    metrics: WorkerMetrics,
    make_processor: Callable[[], Processor],
    processor: Processor,
    requests: Any,
) -> None:
    earlier = make_processor()
    earlier.take([requests.incoming(0, 0, 128, attacked=True)])
    processor.assign(0, earlier.states().values())
    series = read(metrics)
    assert value(series, "alert_firing", model="signs", version="1", partition="0") == 1
    assert value(series, "rows_total", model="signs", version="1") == 0


def test_refused_messages_are_counted_by_their_reason(
    metrics: WorkerMetrics, processor: Processor, requests: Any
) -> None:
    good = requests.incoming(0, 0, 8)
    processor.take([Incoming(0, n, None, b"garbage", []) for n in range(3)])
    processor.take([good._replace(offset=3, value=good.value[:-1])])
    series = read(metrics)
    assert value(series, "dead_letters_total", reason="not-cloudevent") == 3
    assert value(series, "dead_letters_total", reason="bad-length") == 1


def test_the_age_of_the_event_time_is_that_of_the_newest_row(
    metrics: WorkerMetrics, processor: Processor, requests: Any
) -> None:
    newest = NOW_NS - 90 * 10**9
    times = newest - np.arange(32) * 10**9
    processor.take([requests.incoming(0, 0, 32, event_time_ns=times)])
    age = value(read(metrics), "event_time_age_seconds", model="signs", version="1", partition="0")
    assert age == pytest.approx(90.0)


def test_a_flood_of_model_names_makes_no_series(
    metrics: WorkerMetrics, processor: Processor, requests: Any
) -> None:
    processor.take([requests.incoming(0, 0, 8)])
    processor.take([requests.incoming(1, 0, 8, model="ghost")])
    before = read(metrics)
    flood = [requests.incoming(2 + n, 0, 8, model=f"ghost{n}") for n in range(50)]
    processor.take(flood)
    after = read(metrics)
    assert set(after) == set(before)
    assert value(after, "rows_total", model="other", version="") == 51 * 8
    assert value(after, "unjudged_rows_total") == 51 * 8


def test_judged_models_beyond_the_bound_are_counted_together(metrics: WorkerMetrics) -> None:
    for n in range(MOST_NAMES + 30):
        metrics.lane(report(f"m{n}"))
        metrics.lane(report(f"m{n}"))
    rows = {labels: n for (name, labels), n in read(metrics).items() if name == "rows_total"}
    assert len(rows) == MOST_NAMES + 1
    assert rows[frozenset({("model", "other"), ("version", "")})] == 60
    firing = [name for name, _ in read(metrics) if name == "alert_firing"]
    assert len(firing) == MOST_NAMES


def test_clients_who_seem_to_copy_the_model_are_numbers_and_no_names(
    metrics: WorkerMetrics,
) -> None:
    for clients in (0, 2):
        metrics.lane(report("signs", clients=clients))
        series = read(metrics)
        lane = {"model": "signs", "version": "1", "partition": "0"}
        assert value(series, "suspected_clients", **lane) == clients
        assert value(series, "alert_firing", **lane) == 0


def test_waiting_and_readiness_follow_the_health(metrics: WorkerMetrics, health: Health) -> None:
    assert value(read(metrics), "ready") == 0
    health.look({0: 4}, {0}, now=25.0)
    assert (value(read(metrics), "ready"), value(read(metrics), "waiting_seconds")) == (1, 5.0)


def test_lags_are_those_of_the_partitions_that_are_assigned(metrics: WorkerMetrics) -> None:
    metrics.lags({0: 3, 1: 0})
    metrics.lags({1: 9})
    lags = {labels: n for (name, labels), n in read(metrics).items() if name == "lag_messages"}
    assert lags == {frozenset({("partition", "1")}): 9}


def test_two_workers_of_one_process_count_apart(metrics: WorkerMetrics, health: Health) -> None:
    other = WorkerMetrics(health, clock=lambda: 30.0)
    metrics.records(5)
    assert value(read(metrics), "records_total") == 5
    assert value(read(other), "records_total") == 0
    (build,) = [labels for name, labels in read(other) if name == "build_info"]
    assert ("software", __version__) in build


def names_of(text: str) -> set[str]:
    return set(re.findall(r"latentwatch_\w+", text))


def known_names(metrics: WorkerMetrics) -> set[str]:
    """Names of all series, those of labelled metrics without any series as well."""
    found = set()
    for family in (*metrics.registry.collect(), *PublisherCollector().collect()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        found |= {family.name + end for end in suffixes.get(family.type, [""])}
    return found


@pytest.mark.parametrize(
    "path", ["prometheus/rules.yml", "prometheus/rules_test.yml", "grafana/latentwatch.json"]
)
def test_rules_and_dashboard_ask_for_metrics_that_there_are(
    metrics: WorkerMetrics, path: str
) -> None:
    asked = names_of((ROOT / "deploy" / path).read_text())
    assert len(asked) > 5
    assert asked <= known_names(metrics)


def test_every_metric_and_every_rule_is_documented(metrics: WorkerMetrics) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    families = {
        name for name in known_names(metrics) if not re.search("_(bucket|sum|count)$", name)
    }
    families |= {"latentwatch_decision_seconds", "latentwatch_flush_seconds"}
    assert families <= names_of(page)
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert [name for name in alerts if f"`{name}`" not in page] == []
