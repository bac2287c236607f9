"""Runs the demo's parts in their order, and stops what it started, whatever happens."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from stream.baselines import baseline_url
from stream.broker import Broker, open_broker
from stream.cli_baseline import fit_with_progress, read_arrays
from stream.errors import StreamError
from stream.settings import Settings
from stream.topics import create_topics, topic_specs

from .plan import MODEL, VERSION, DemoPlan
from .report import print_report, write_outputs
from .subscribe import Outputs, collect
from .verdict import Verdict, judge, read_truth

__all__ = ["run_demo"]

IDLE_SECONDS = 3.0
"""The demo's worker closes the last hours soon after the last request."""

STOP_SECONDS = 20.0


def run_demo(plan: DemoPlan, console: Console) -> Verdict:
    """Run everything; return how well the attack was seen."""
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
        console.rule("2  a network that reads traffic signs")
        _signs(plan.prepare_arguments())
        console.rule("3  its baseline")
        layers = _fit(plan, settings, console)
        console.rule(f"4  {plan.hours} hours of requests, with an attack in the last but one")
        with _worker(settings, plan.out / "worker.log") as worker:
            topic = settings.topics().activations
            _signs(plan.play_arguments(broker.bootstrap_servers, topic))
            outputs = _collect(plan, settings, layers, worker, console)
    console.rule("5  what latentwatch saw")
    return _report(plan, outputs, layers[0], console)


def _settings(plan: DemoPlan, servers: str, prefix: str) -> Settings:
    return Settings(
        bootstrap_servers="localhost:9092" if servers == "-" else servers,
        topic_prefix=prefix,
        application_id=f"{prefix or 'demo-'}worker",
        baselines=str((plan.out / "baselines").resolve()),
        idle_seconds=IDLE_SECONDS,
    )


def _prefix(broker: Broker) -> str:
    # somebody else's broker may hold an earlier demo, or the real thing
    return f"latentwatch-demo-{secrets.token_hex(3)}." if broker.kind == "external" else ""


def _signs(arguments: list[str]) -> None:
    """Run a command of the inference side in its own process, on this terminal."""
    outcome = subprocess.run([sys.executable, "-m", "producers.signs", *arguments], check=False)
    if outcome.returncode:
        raise StreamError(
            f"'python -m producers.signs {arguments[0]}' ended with exit code "
            f"{outcome.returncode}; its message stands above"
        )


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


@contextmanager
def _worker(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **settings.environment()}
    with log.open("wb") as file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "stream.cli", "worker"],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must reach it through us, after the player stopped
        )
        try:
            yield worker
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def _collect(
    plan: DemoPlan,
    settings: Settings,
    layers: tuple[str, ...],
    worker: subprocess.Popen[bytes],
    console: Console,
) -> Outputs:
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("requests accounted for by hours", total=plan.requests)

        def check(counted: int) -> None:
            bars.update(task, completed=counted)
            if worker.poll() is not None:
                raise StreamError(
                    f"the worker ended with exit code {worker.returncode}; "
                    f"see {plan.out / 'worker.log'}"
                )

        return asyncio.run(collect(settings, layers, plan.requests, check))


def _report(plan: DemoPlan, outputs: Outputs, layer: str, console: Console) -> Verdict:
    from .picture import draw

    verdict = judge(outputs, read_truth(plan.out / "truth.jsonl"))
    write_outputs(outputs, plan.out)
    draw(outputs, verdict, layer, plan.out / "examples.npz", plan.out / "demo.png")
    print_report(outputs, verdict, layer, console)
    console.print(
        f"written to {plan.out}: demo.png, samples.png, alerts.jsonl, detection-rates.jsonl, "
        "flagged-requests.jsonl, worker.log"
    )
    return verdict
