"""How often thin, pulsed, masked and spread attacks are detected.

The figures of ``docs/hostile.md`` and ``docs/scale.md``.

    python -m latentwatch.lab.bench.hostility activations.npz --layers layer1,layer3,layer4

The file has the form that ``latentwatch evaluate`` reads. It takes five minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentwatch.stream.cli.options import use_one_thread

if TYPE_CHECKING:
    from latentwatch.detector.evaluation.hostility import Hostility

__all__ = ["main"]


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--layers", help="Layers to use, separated by commas; all by default.")
@click.option("--attack", default="pgd_eps03", show_default=True, help="Set that is the attack.")
@click.option("--streams", type=click.IntRange(1), default=20, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(data: Path, layers: str | None, attack: str, streams: int, seed: int) -> None:
    """Measure how often hostile streams are detected, and write Markdown tables."""
    use_one_thread()
    from latentwatch.detector.errors import ActivationsError
    from latentwatch.stream.cli.baseline import load_npz

    try:
        hostility = _fitted(load_npz(data), layers, attack, streams, seed)
    except ActivationsError as error:
        raise click.ClickException(str(error)) from error
    for table in (_dilution, _pulses, _floods, _label_mix, _lanes, _sampling):
        click.echo(table(hostility) + "\n")


def _fitted(
    arrays: dict[str, Any], layers: str | None, attack: str, streams: int, seed: int
) -> Hostility:
    from latentwatch.detector.errors import ActivationsError
    from latentwatch.detector.evaluation.hostility import Hostility
    from latentwatch.detector.evaluation.runs import Rows
    from latentwatch.detector.evaluation.sets import fit_baseline, split_sets

    sets = split_sets(arrays, layers.split(",") if layers else None)
    if attack not in sets:
        raise ActivationsError(f"there is no set {attack!r}: the file has {', '.join(sets)}")
    baseline = fit_baseline(sets["baseline"], seed)
    clean, hostile = (Rows(*baseline.rows(*sets[name])) for name in ("clean", attack))
    return Hostility(baseline, clean, hostile, streams, seed)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _dilution(hostility: Hostility) -> str:
    found = hostility.dilution()
    rows = [(f"{share:.0%}", f"{power:.2f}") for share, power in found.items()]
    return _table(("share of the attack", "streams that alarm"), rows)


def _pulses(hostility: Hostility) -> str:
    rows = [
        (str(burst), f"{whole:.2f}", f"{split:.2f}")
        for burst, (whole, split) in hostility.pulses().items()
    ]
    return _table(("requests of a burst", "begins with a block", "split by a block's end"), rows)


def _floods(hostility: Hostility) -> str:
    rows = [
        (kind, f"{flood:.0%}", f"{power:.2f}", f"{quiet:.2f}")
        for (kind, flood), (power, quiet) in hostility.floods().items()
    ]
    return _table(("flooded with", "of all requests", "with the attack", "without"), rows)


def _label_mix(hostility: Hostility) -> str:
    rows = [
        (f"{dominance:.0%}", f"{share:.0%}", f"{power:.2f}")
        for (dominance, share), power in hostility.label_mix().items()
    ]
    return _table(("benign traffic of one class", "attack", "streams that alarm"), rows)


def _lanes(hostility: Hostility) -> str:
    rows = [
        (str(count), f"{lanes:.2f}", f"{hour:.2f}")
        for count, (lanes, hour) in hostility.lanes().items()
    ]
    return _table(("lanes", "any lane alarms", "hour with p at most 0.01"), rows)


def _sampling(hostility: Hostility) -> str:
    found = hostility.sampling()
    bursts = list(next(iter(found.values()))[1])
    rows = [
        (
            f"{rate:.0%}",
            "not detected" if delay is None else f"{delay:,.0f}",
            *(f"{seen[burst]:.2f}" for burst in bursts),
        )
        for rate, (delay, seen) in found.items()
    ]
    head = ("sampling rate", "requests until the alarm", *(f"burst of {b:,}" for b in bursts))
    return _table(head, rows)


if __name__ == "__main__":
    main()
