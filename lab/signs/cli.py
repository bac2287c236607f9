"""The commands of the traffic-sign demo; see `latentwatch.lab.signs`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.chaos.traffic.sets import save_arrays
from latentwatch.lab.signs.adaptive import STEPS, WINDOW, Knowledge
from latentwatch.lab.signs.attack import AttackSettings
from latentwatch.lab.signs.checkpoints import Manifest, load, load_or_train
from latentwatch.lab.signs.datasets import (
    ActivationSets,
    SetSizes,
    adaptive_sets,
    evaluation_sets,
    validation_arrays,
)
from latentwatch.lab.signs.detector_view import DetectorView
from latentwatch.lab.signs.pictures import save_samples
from latentwatch.lab.signs.service import Played, play
from latentwatch.lab.signs.traffic import TrafficPlan, hour_start_ns, plan_hours
from latentwatch.lab.signs.training import TrainingSettings, accuracy
from latentwatch.lab.signs.workload import make_requests, save_examples
from latentwatch.producers.errors import ProducerError
from latentwatch.producers.publisher import BackgroundPublisher

_TEST_IMAGES = 4000
_DEFAULTS = TrainingSettings()
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)

Command = Callable[..., Any]

console = Console()


@click.group(help="The traffic-sign demo's inference side: network, service and attack.")
def main() -> None:
    """Entry point of ``python -m latentwatch.lab.signs``."""


def _common(command: Command) -> Command:
    """Add the options that every command has."""
    command = click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Seed of everything random.",
    )(command)
    return click.option(
        "--cache", type=_FOLDER, required=True, help="Folder where trained networks are kept."
    )(command)


def _training(command: Command) -> Command:
    """Add the options of the training."""
    command = click.option(
        "--epochs",
        type=click.IntRange(min=1),
        default=_DEFAULTS.epochs,
        show_default=True,
        help="Passes over the training pictures.",
    )(command)
    return click.option(
        "--training-images",
        type=click.IntRange(min=_DEFAULTS.batch_size),
        default=_DEFAULTS.images,
        show_default=True,
        help="Pictures to train with.",
    )(command)


def _eps(command: Command) -> Command:
    """Add the option of the attack."""
    return click.option(
        "--eps",
        type=float,
        default=AttackSettings.eps,
        show_default=True,
        help="Largest change of a pixel by the attack, with pixels from 0 to 1.",
    )(command)


@main.command()
@click.option("--out", type=_FOLDER, required=True, help="Folder to write to.")
@click.option(
    "--validation-images",
    type=click.IntRange(min=1),
    default=4000,
    show_default=True,
    help="Fresh pictures whose activations become the baseline.",
)
@_training
@_common
def prepare(
    out: Path, cache: Path, seed: int, training_images: int, epochs: int, validation_images: int
) -> None:
    """Draw signs, train the network or take it from the cache, capture the baseline's rows.

    Writes network.json, samples.png (labelled drawings) and validation.npz (baseline.<layer>,
    baseline.predicted) into --out.
    """
    settings = TrainingSettings(seed=seed, images=training_images, epochs=epochs)
    out.mkdir(parents=True, exist_ok=True)
    with _reported_errors(), _progress() as progress:
        begun = time.monotonic()
        model, trained = load_or_train(settings, cache, progress)
        seconds = time.monotonic() - begun
        task = progress.add_task("capturing validation activations", total=1)
        manifest = Manifest(settings, accuracy(model, seed=seed, count=_TEST_IMAGES))
        manifest.write(out)
        save_samples(out / "samples.png", seed=derived_seed(seed, "samples"))
        arrays = validation_arrays(model, seed=seed, count=validation_images)
        save_arrays(out / "validation.npz", arrays)
        progress.update(task, advance=1)
    origin = f"trained in {seconds:.0f} s" if trained else "taken from the cache"
    console.print(
        f"network {origin}; it recognises {manifest.accuracy:.1%} of {_TEST_IMAGES} fresh "
        f"drawings; {validation_images} validation activations captured",
        soft_wrap=True,
    )


@main.command(name="play")
@click.option("--out", type=_FOLDER, required=True, help="Folder that prepare wrote to.")
@click.option(
    "--bootstrap-servers",
    envvar="KAFKA_BOOTSTRAP_SERVERS",
    required=True,
    show_envvar=True,
    help="Address of the Kafka brokers.",
)
@click.option("--topic", default="activations", show_default=True, help="Topic to publish to.")
@click.option("--model", default="traffic-signs", show_default=True, help="Model name.")
@click.option("--version", default="1", show_default=True, help="Model version.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Share of adversarial requests in the hour under attack.",
)
@click.option(
    "--hours",
    type=click.IntRange(min=2),
    default=4,
    show_default=True,
    help="Hours to play: the last but one under attack, the last fading, others benign.",
)
@click.option(
    "--requests-per-hour",
    type=click.IntRange(min=1),
    default=1600,
    show_default=True,
    help="Requests in each hour.",
)
@click.option(
    "--start-time",
    default="2026-01-05T08:00:00Z",
    show_default=True,
    help="Start of the first hour: RFC 3339, or nanoseconds since 1970 UTC.",
)
@_eps
@_common
def play_command(
    out: Path,
    cache: Path,
    seed: int,
    share: float,
    eps: float,
    hours: int,
    requests_per_hour: int,
    start_time: str,
    bootstrap_servers: str,
    topic: str,
    model: str,
    version: str,
) -> None:
    """Compute the attack, then play hours of requests through the network and the publisher.

    Needs what prepare wrote into --out. Adds truth.jsonl (the truth about each request) and
    examples.npz (the attacked pictures with their originals).
    """
    with _reported_errors(), _progress() as progress:
        plan = plan_hours(hours, requests_per_hour, share, seed)
        start_ns = hour_start_ns(start_time)
        network = load(Manifest.read(out).settings, cache)
        requests, examples = make_requests(
            network, plan, AttackSettings(eps=eps), seed=seed, progress=progress
        )
        save_examples(out / "examples.npz", network, requests, examples)
        with BackgroundPublisher(bootstrap_servers, model, version, topic=topic) as publisher:
            played = play(
                network,
                requests,
                publisher,
                start_ns=start_ns,
                truth=out / "truth.jsonl",
                progress=progress,
            )
    _report(played, plan)


@main.command()
@click.option("--out", type=_FILE, required=True, help="File to write, .npz.")
@click.option(
    "--baseline-rows",
    type=click.IntRange(min=1),
    default=SetSizes.baseline,
    show_default=True,
    help="Rows of the set baseline.",
)
@click.option(
    "--clean-rows",
    type=click.IntRange(min=1),
    default=SetSizes.clean,
    show_default=True,
    help="Rows of benign traffic.",
)
@click.option(
    "--shifted-rows",
    type=click.IntRange(min=1),
    default=SetSizes.shifted,
    show_default=True,
    help="Rows of each attack and of each drift.",
)
@_training
@_eps
@_common
def export(
    out: Path,
    cache: Path,
    seed: int,
    eps: float,
    training_images: int,
    epochs: int,
    baseline_rows: int,
    clean_rows: int,
    shifted_rows: int,
) -> None:
    """Write activations of clean, attacked and drifted signs for `latentwatch evaluate`.

    The sets of attacks are named after --eps. The success of each attack is in a .json
    file of the same name.
    """
    settings = TrainingSettings(seed=seed, images=training_images, epochs=epochs)
    sizes = SetSizes(baseline_rows, clean_rows, shifted_rows)
    with _reported_errors(), _progress() as progress:
        model, _ = load_or_train(settings, cache, progress)
        sets = evaluation_sets(model, AttackSettings(eps=eps), sizes, seed=seed, progress=progress)
        sets.save(out)
    _report_sets(out, sets)


@main.command()
@click.option("--out", type=_FILE, required=True, help="File to write, .npz.")
@click.option(
    "--baseline",
    type=_FILE,
    required=True,
    help="Baseline of this network, .safetensors.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Rows of each attack.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=STEPS,
    show_default=True,
    help="Gradient steps of each attack.",
)
@_training
@_eps
@_common
def adapt(
    out: Path,
    cache: Path,
    seed: int,
    eps: float,
    training_images: int,
    epochs: int,
    baseline: Path,
    rows: int,
    steps: int,
) -> None:
    """Write activations of attacks that know the baseline and evade the detector.

    Each set is named adaptive_.... The success of each attack is in a .json file of the same
    name: {set: {"success": share of wrong predictions, "eps": ..., "rows": ...}}.
    """
    settings = TrainingSettings(seed=seed, images=training_images, epochs=epochs)
    with _reported_errors(), _progress() as progress:
        detector = DetectorView.read(baseline)
        model, _ = load_or_train(settings, cache, progress)
        sets = adaptive_sets(
            Knowledge(model, detector),
            AttackSettings(eps=eps, steps=steps, batch_size=WINDOW),
            rows=rows,
            seed=seed,
            progress=progress,
        )
        sets.save(out)
    _report_sets(out, sets)


def _report_sets(out: Path, sets: ActivationSets) -> None:
    names = dict.fromkeys(name.split(".")[0] for name in sets.arrays)
    console.print(f"{out}: {', '.join(names)}", soft_wrap=True)
    for name, figures in sets.attacks.items():
        console.print(f"{name} fools the network with {figures.success:.1%} of its pictures")


def _report(played: Played, plan: TrafficPlan) -> None:
    adversarial = int(plan.adversarial.sum())
    benign = played.requests - adversarial
    text = f"{played.requests} requests played, none dropped"
    if benign:
        text += f"; of {benign} benign ones {played.correct / benign:.1%} classified correctly"
    if adversarial:
        text += f"; {played.fooled / adversarial:.1%} of {adversarial} adversarial ones fooled"
        text += " the network"
    console.print(text, soft_wrap=True)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


@contextmanager
def _reported_errors() -> Iterator[None]:
    """Turn our exceptions into a message and exit code 1."""
    try:
        yield
    except ProducerError as error:
        raise click.ClickException(str(error)) from error
