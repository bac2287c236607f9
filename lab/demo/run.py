"""Runs the demo's parts in order, and stops everything it started, whatever happens."""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import Progress

from latentwatch.lab.brokers import Broker, open_broker
from latentwatch.lab.demo.dashboard import InputFiles, open_in_browser, running_dashboard
from latentwatch.lab.demo.plan import MODEL, VERSION, DemoPlan
from latentwatch.lab.demo.report import print_report, write_outputs
from latentwatch.lab.demo.subscribe import collect
from latentwatch.lab.demo.verdict import Verdict, judge, read_truth
from latentwatch.stream.cli.baseline import fit_with_progress, read_arrays
from latentwatch.stream.core.errors import StreamError
from latentwatch.stream.core.outputs import Outputs
from latentwatch.stream.kafka.topics import create_topics, topic_specs
from latentwatch.stream.processes.child import Child
from latentwatch.stream.service.baselines import baseline_url
from latentwatch.stream.settings import Settings

__all__ = ["run_demo"]

IDLE_SECONDS = 3.0
"""The demo's worker closes the last hours soon after the last request."""


def run_demo(plan: DemoPlan, console: Console) -> Verdict:
    """Run everything; return how well the attack was detected."""
    plan.out.mkdir(parents=True, exist_ok=True)
    console.rule("1  the broker")
    partitions = {spec.name: spec.partitions for spec in topic_specs(_settings(plan, "-", ""))}
    with open_broker(
        plan.broker,
        progress=lambda text: console.print(text),
        warn=lambda text: console.print(f"[yellow]{text}[/yellow]"),
        topics=partitions,
    ) as broker:
        console.print(f"{broker.kind} broker at {broker.bootstrap_servers}")
        settings = _settings(plan, broker.bootstrap_servers, _prefix(broker))
        if broker.kind != "mock":
            asyncio.run(create_topics(settings))
        with _dashboard(plan, settings, console) as url:
            return _watch(plan, settings, url, console)


def _watch(plan: DemoPlan, settings: Settings, url: str, console: Console) -> Verdict:
    """Everything that needs topics: a network, its baseline, traffic, and the results."""
    console.rule("2  a network that reads traffic signs")
    _signs(plan.prepare_arguments())
    console.rule("3  its baseline")
    layers = _fit(plan, settings, console)
    console.rule(f"4  {plan.hours} hours of requests, with an attack in the last but one")
    if url:
        open_in_browser(url, console)
    log = plan.out / "worker.log"
    with Child.of_latentwatch(["worker"], log, settings.environment()) as worker:
        _play(plan, settings)
        outputs = _collect(plan, settings, layers, worker, console)
        console.rule("5  what latentwatch saw")
        verdict = _report(plan, outputs, layers[0], console)
        if url:
            _stay(url, console)
    return verdict


def _settings(plan: DemoPlan, servers: str, prefix: str) -> Settings:
    return Settings(
        bootstrap_servers="localhost:9092" if servers == "-" else servers,
        topic_prefix=prefix,
        application_id=f"{prefix or 'demo-'}worker",
        baselines=str((plan.out / "baselines").resolve()),
        idle_seconds=IDLE_SECONDS,
        metrics_port=_free_port() if plan.dashboard and _has_metrics() else 0,
    )


def _has_metrics() -> bool:
    return importlib.util.find_spec("prometheus_client") is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _prefix(broker: Broker) -> str:
    # an external broker may hold an earlier demo, or production topics
    return f"latentwatch-demo-{secrets.token_hex(3)}." if broker.kind == "external" else ""


def _signs(arguments: list[str]) -> None:
    """Run a command of the inference side in its own process, on this terminal."""
    with _signs_running(arguments) as process:
        process.wait()


@contextmanager
def _signs_running(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-m", "latentwatch.lab.signs", *arguments]) as process:
        yield process
    if process.returncode:
        raise StreamError(
            f"'python -m latentwatch.lab.signs {arguments[0]}' ended with exit code "
            f"{process.returncode}; see its message above"
        )


@contextmanager
def _dashboard(plan: DemoPlan, settings: Settings, console: Console) -> Iterator[str]:
    """Yield the dashboard's address; empty without one."""
    if not plan.dashboard:
        yield ""
        return
    with running_dashboard(settings, plan.out, console) as url:
        yield url


def _play(plan: DemoPlan, settings: Settings) -> None:
    """Play the hours; the pictures of attacked signs appear as they are sent."""
    files = InputFiles(plan.out)
    topic = settings.topics().activations
    with _signs_running(plan.play_arguments(settings.bootstrap_servers, topic)) as player:
        while player.poll() is None:
            files.write_new()
            time.sleep(0.1)
    files.write_new()


def _stay(url: str, console: Console) -> None:
    """On a terminal, keep the dashboard running until Enter is pressed."""
    if console.is_terminal and sys.stdin.isatty():
        console.print(f"Enter ends the demo; until then the dashboard is at {url}")
        with suppress(EOFError, KeyboardInterrupt):
            input()


def _fit(plan: DemoPlan, settings: Settings, console: Console) -> tuple[str, ...]:
    activations, predicted = read_arrays(plan.out / "validation.npz", ())
    baseline = fit_with_progress(
        activations,
        predicted,
        console,
        model=MODEL,
        version=VERSION,
        seed=plan.seed,
        drop_constant=True,
        rare_classes="pool",
    )
    url = baseline_url(settings.baselines, MODEL, VERSION)
    baseline.save(url)
    threshold = baseline.threshold(settings.average_run_length)
    console.print(
        f"{baseline.fitted_rows:,} rows of {', '.join(baseline.layer_names)}; a false alarm every "
        f"{settings.average_run_length:,} requests on average, so the threshold is {threshold:.2f}"
    )
    return tuple(view.name for view in baseline.views)


def _collect(
    plan: DemoPlan,
    settings: Settings,
    layers: tuple[str, ...],
    worker: Child,
    console: Console,
) -> Outputs:
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("requests accounted for by hours", total=plan.requests)

        def check(counted: int) -> None:
            bars.update(task, completed=counted)
            if not worker.is_running:
                raise StreamError(
                    f"the worker ended with exit code {worker.exit_code}; see {worker.log}"
                )

        return asyncio.run(collect(settings, layers, plan.requests, check))


def _report(plan: DemoPlan, outputs: Outputs, layer: str, console: Console) -> Verdict:
    from latentwatch.lab.demo.picture import draw

    verdict = judge(outputs, read_truth(plan.out / "truth.jsonl"))
    write_outputs(outputs, plan.out)
    draw(outputs, verdict, layer, plan.out / "examples.npz", plan.out / "demo.png")
    print_report(outputs, verdict, layer, console)
    console.print(
        f"written to {plan.out}: demo.png, samples.png, alerts.jsonl, detection-rates.jsonl, "
        "flagged-requests.jsonl, worker.log"
    )
    return verdict
