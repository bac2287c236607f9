"""``latentwatch baseline``: fit, show, compare and sign baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress

from latentwatch.stream.cli.baseline_tables import describe, difference_tables
from latentwatch.stream.cli.group import Group
from latentwatch.stream.cli.options import EventTime
from latentwatch.stream.cli.sign import keygen, sign, verify
from latentwatch.stream.cli.sources import Part, Source, load_npz, open_source, read_arrays

if TYPE_CHECKING:
    from latentwatch.detector import Baseline, Screening

__all__ = ["baseline", "fit_with_progress", "load_npz", "read_arrays"]

ACCEPTABLE = ("poisoned", "drift", "duplicates")
"""Findings that --accept overrules. Too few rows of a class always fail."""

ROWS_SHOWN = 10


class _Findings(click.ParamType):
    """Names of findings, separated by commas."""

    name = "findings"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[str]:
        """Split and check."""
        names = frozenset(value.split(",")) if isinstance(value, str) else frozenset(value)
        if unknown := names - set(ACCEPTABLE):
            self.fail(f"{', '.join(sorted(unknown))}: choose among {', '.join(ACCEPTABLE)}")
        return names


@click.group(cls=Group)
def baseline() -> None:
    """Fit, show, compare and sign baselines."""


baseline.add_command(keygen)
baseline.add_command(sign)
baseline.add_command(verify)


def fit_with_progress(
    activations: dict[str, Any], predicted: Any, console: Console, **options: Any
) -> Baseline:
    """Fit, with a progress bar over the simulated streams."""
    from latentwatch.detector import Baseline

    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("calibrating on simulated clean streams", total=None)
        return Baseline.fit(
            activations,
            predicted,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
            **options,
        )


@baseline.command()
@click.argument("source")
@click.option("--model", help="Name of the model; optional for a recording of one model.")
@click.option(
    "--model-version",
    "version",
    help="Version of the model; optional for a recording of one version.",
)
@click.option(
    "--since",
    "since_ns",
    type=EventTime(),
    help="Event times at or after this time, UTC; recordings only.",
)
@click.option(
    "--until",
    "until_ns",
    type=EventTime(),
    help="Event times before this time, UTC; recordings only.",
)
@click.option(
    "--baselines",
    default="./baselines",
    show_default=True,
    help="Folder or fsspec URL; the file is <model>/<version>.safetensors in it.",
)
@click.option("--layers", help="Layers to use, separated by commas; all by default.")
@click.option(
    "--classes",
    type=int,
    help="Number of classes of the model; by default the number found in the rows.",
)
@click.option(
    "--longest-window",
    type=int,
    default=512,
    show_default=True,
    help="Longest window, in requests.",
)
@click.option(
    "--simulated-requests",
    type=click.IntRange(1_000),
    default=1_600_000,
    show_default=True,
    help="Clean requests to simulate. Run lengths may be up to a hundred times this number.",
)
@click.option("--drop-constant", is_flag=True, help="Leave out features that never vary.")
@click.option("--pool-rare-classes", is_flag=True, help="Let rare classes share one mean.")
@click.option(
    "--accept",
    "accepted",
    type=_Findings(),
    default=(),
    help="Fit despite these findings: poisoned, drift, duplicates, separated by commas. Poisoned "
    "rows are then included; repeated rows are still removed.",
)
@click.option(
    "--findings",
    "findings_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the findings of the screening, with all affected rows, to a JSON file.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace an existing baseline.")
def fit(
    source: str,
    model: str | None,
    version: str | None,
    since_ns: int | None,
    until_ns: int | None,
    baselines: str,
    layers: str | None,
    force: bool,
    accepted: frozenset[str],
    findings_file: Path | None,
    pool_rare_classes: bool,
    **options: Any,
) -> None:
    """Fit a baseline on arrays or on a recording.

    SOURCE is an npz file of the validation phase or a recording of trusted traffic. The file has
    one array [N, d] per layer, earliest layer first, named <layer> or baseline.<layer>, and the
    predicted classes [N], named predicted or baseline.predicted. A recording is the folder or URL
    that `latentwatch record` wrote to.

    The rows are screened first (docs/baselines.md). Too few rows, exact repeats, drift within the
    period, and rows that look poisoned cause a warning or are refused.
    """
    wanted = tuple(layers.split(",")) if layers else ()
    rows = open_source(source, Part(model, version, since_ns, until_ns, wanted))
    url = _free_url(baselines, rows, force)
    console = Console(stderr=True)
    rows = _screened(rows, console, accepted, findings_file, pool_rare_classes, options)
    fitted = fit_with_progress(
        rows.activations,
        rows.predicted,
        console,
        model=rows.model,
        version=rows.version,
        rare_classes="pool" if pool_rare_classes else "refuse",
        **options,
    )
    fitted.save(url)
    click.echo(f"wrote {url}")
    describe(fitted, Console())


def _free_url(baselines: str, rows: Source, force: bool) -> str:
    """URL of the new artefact; fails if one exists there."""
    from latentwatch.detector.artefact import filesystem_of
    from latentwatch.stream.service.baselines import baseline_url

    url = baseline_url(baselines, rows.model, rows.version)
    filesystem, path = filesystem_of(url)
    if filesystem.exists(path) and not force:
        raise click.ClickException(f"{url} already exists; --force replaces it")
    return url


def _screened(
    rows: Source,
    console: Console,
    accepted: frozenset[str],
    findings_file: Path | None,
    pool_rare_classes: bool,
    options: dict[str, Any],
) -> Source:
    """The rows without repeats, after screening; fails if a finding forbids the fit."""
    import numpy as np

    from latentwatch.detector import screen

    with console.status("screening the rows"):
        screening = screen(
            rows.activations,
            rows.predicted,
            rows.event_time_ns,
            # the fit uses the seed itself
            rng=np.random.default_rng([options["seed"], 1]),
            classes=options["classes"],
            drop_constant=options["drop_constant"],
            pool_rare_classes=pool_rare_classes,
        )
    if findings_file is not None:
        _write_findings(findings_file, rows, screening)
    _print_findings(rows, screening, accepted)
    return rows if len(screening.kept) == len(rows.predicted) else rows.take(screening.kept)


def _print_findings(rows: Source, screening: Screening, accepted: frozenset[str]) -> None:
    """Print the findings; fail if one that was not accepted forbids the fit."""
    for finding in screening.findings:
        refused = finding.severity == "refuse" and finding.kind not in accepted
        click.echo(f"{'refused' if refused else 'warning'}: {finding.sentence}")
        if finding.kind == "poisoned":
            named = [rows.name_of(row) for row in finding.rows[:ROWS_SHOWN].tolist()]
            more = len(finding.rows) - len(named)
            click.echo(f"  {', '.join(named)}" + (f" and {more} more" if more else ""))
    kinds = list(dict.fromkeys(f.kind for f in screening.refusals(accepted)))
    if not kinds:
        return
    overruled = ",".join([*sorted(accepted), *(kind for kind in kinds if kind in ACCEPTABLE)])
    advice = f"; --accept {overruled} fits all the same" if "rows" not in kinds else ""
    reasons = "; ".join(f.sentence for f in screening.refusals(accepted)[:1])
    others = len(screening.refusals(accepted)) - 1
    raise click.ClickException(
        f"no baseline was fitted: {reasons}" + (f" ({others} more)" if others else "") + advice
    )


def _write_findings(path: Path, rows: Source, screening: Screening) -> None:
    import orjson

    found = [
        {
            "kind": finding.kind,
            "severity": finding.severity,
            "sentence": finding.sentence,
            "p_value": finding.p_value,
            "rows": finding.rows.tolist(),
            "request_ids": rows.request_ids
            and [rows.request_ids[row] for row in finding.rows.tolist()],
        }
        for finding in screening.findings
    ]
    about = {"model": rows.model, "version": rows.version, "rows": len(rows.predicted)}
    path.write_bytes(orjson.dumps(about | {"findings": found}, option=orjson.OPT_INDENT_2))


@baseline.command()
@click.argument("url")
def show(url: str) -> None:
    """Show what a baseline was fitted on and its run lengths.

    URL is the path or fsspec URL of the baseline.
    """
    from latentwatch.detector import Baseline

    describe(Baseline.load(url), Console())


@baseline.command()
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="Print only JSON.")
def diff(first: str, second: str, as_json: bool) -> None:
    """Compare two baselines and say what the difference means."""
    import orjson

    from latentwatch.detector import Baseline, compare_baselines

    found = compare_baselines(Baseline.load(first), Baseline.load(second))
    if as_json:
        click.echo(orjson.dumps(found.as_dict(), option=orjson.OPT_INDENT_2))
        return
    console = Console()
    for table in difference_tables(found):
        console.print(table)
    console.print(f"{found.meaning[0].upper()}{found.meaning[1:]}.")
