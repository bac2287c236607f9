"""The figures of ``latentwatch evaluate`` as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from latentwatch.detector import Evaluation

__all__ = ["comparison_tables", "markdown", "tables"]


def tables(outcome: Evaluation, alpha: float) -> Iterator[Table]:
    """Tables of everything that was measured."""
    if outcome.false_alarm is not None:
        yield _table(
            f"false alarms on clean windows, alpha {alpha:g}",
            [f"W={size}" for size in outcome.false_alarm],
            [[f"{rate:.3f}" for rate in outcome.false_alarm.values()]],
        )
    if outcome.power is not None:
        yield _power(outcome.power, outcome.auroc or {})
    if outcome.arl is not None:
        yield _run_lengths(outcome.arl, outcome.arl_detail or {})
    if outcome.delay is not None:
        yield _delays(outcome.delay, outcome.delay_90 or {})
    if outcome.calibration is not None:
        yield _calibration(outcome.calibration)
    if outcome.fdr is not None:
        yield _discoveries(outcome)
    if outcome.contamination is not None:
        yield _contamination(outcome.contamination)
    if outcome.pattern is not None:
        yield _patterns(outcome.pattern, outcome.suspects or {})


def comparison_tables(found: Mapping[str, Mapping[str, Any]], alpha: float) -> Iterator[Table]:
    """Tables of several methods on the same windows; see `latentwatch.lab.peers.against`."""
    first = next(iter(found.values()))
    yield _table(
        f"false alarms of each method, {first['windows']} clean windows per size, alpha {alpha:g}",
        ["set", *(f"W={size}" for size in first["false_alarm"]), "rows used", "seconds"],
        (
            [
                method,
                *(f"{rate:.3f}" for rate in figures["false_alarm"].values()),
                f"{figures['reference_rows']:,}",
                f"{figures['seconds']:,.0f}",
            ]
            for method, figures in found.items()
        ),
    )
    for attack, rates in first["power"].items():
        yield _table(
            f"power of each method: {attack}",
            ["set", *(mixture.replace("@", "\n@") for mixture in rates)],
            (
                [method, *(f"{rate:.2f}" for rate in figures["power"][attack].values())]
                for method, figures in found.items()
            ),
        )


def markdown(shown: Iterable[Table]) -> str:
    """Tables as Markdown: title, table, caption."""
    parts = []
    for table in shown:
        cells = [list(column.cells) for column in table.columns]
        header = [str(column.header).replace("\n", " ") for column in table.columns]
        aligned = ["---" if column.justify == "left" else "---:" for column in table.columns]
        rows = [header, aligned, *map(list, zip(*cells, strict=True))]
        lines = [f"**{table.title}**", "", *(f"| {' | '.join(map(str, row))} |" for row in rows)]
        parts.append("\n".join([*lines, *(["", str(table.caption)] if table.caption else [])]))
    return "\n\n".join(parts) + "\n"


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    # without a frame the widest table fits into a terminal of 80 columns
    table = Table(
        title=title, title_justify="left", caption_justify="left", box=None, pad_edge=False
    )
    for name in columns:
        table.add_column(name, justify="left" if name == "set" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _power(power: Mapping[str, Mapping[str, float]], auroc: Mapping[str, float]) -> Table:
    mixtures = list(next(iter(power.values()), {}))
    return _table(
        "power: share of windows rejected (requests@contaminated share)",
        ["set", *(mixture.replace("@", "\n@") for mixture in mixtures), "AUROC"],
        (
            [name, *(f"{rate:.2f}" for rate in rates.values()), f"{auroc[name]:.3f}"]
            for name, rates in power.items()
        ),
    )


def _run_lengths(
    arl: Mapping[str, Mapping[str, float | None]], detail: Mapping[str, Mapping[str, Any]]
) -> Table:
    def cell(target: str, kind: str) -> str:
        low, high = _ends(detail[target][kind])
        return f"{_count(arl[target][kind])} ({_count(low)} to {_count(high) if high else 'more'})"

    kinds = list(next(iter(arl.values())))
    splits = len(next(iter(next(iter(detail.values())).values())).get("splits", ()))
    ends = f"lowest to highest of {splits} splits" if splits else "95 % interval"
    return _table(
        f"requests per false alarm of benign streams ({ends})",
        ["target", *(kind.replace("_", " ") for kind in kinds)],
        ([f"{int(target):,}", *(cell(target, kind) for kind in kinds)] for target in arl),
    )


def _ends(found: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Lowest and highest run length of several splits, or the interval of a single one."""
    if "splits" not in found:
        low, high = found["interval"]
        return low, high
    ordered = sorted(found["splits"], key=lambda one: one["arl"] or float("inf"))
    return ordered[0]["arl"], ordered[-1]["arl"]


def _delays(
    median: Mapping[str, Mapping[str, float | None]],
    ninety: Mapping[str, Mapping[str, float | None]],
) -> Table:
    shares = list(next(iter(median.values()), {}))
    return _table(
        "requests from the start of an attack to the alarm: median, 90th percentile",
        ["set", *(f"{float(share):.0%}" for share in shares)],
        (
            [name, *(f"{_count(found[s])}, {_count(ninety[name][s])}" for s in shares)]
            for name, found in median.items()
        ),
    )


def _calibration(calibration: Mapping[str, Any]) -> Table:
    windows = calibration["windows"]
    requests, worst = calibration["requests"], calibration["worst_class"]
    table = _table(
        "clean windows with a p-value of at most a level",
        ["level", *(f"W={size}" for size in windows)],
        (
            [level, *(f"{rates[level]:.3f}" for rates in windows.values())]
            for level in next(iter(windows.values()))
        ),
    )
    table.caption = f"p-values of requests: distance from uniform {requests['distance']:.3f} " + (
        f"(Kolmogorov-Smirnov p = {requests['p_value']:.3f}"
        + (f"; worst class, adjusted, p = {worst['p_value']:.3f})" if worst else ")")
    )
    return table


def _discoveries(outcome: Evaluation) -> Table:
    found = outcome.fdr or {}
    shares = list(next(iter(found.values()), {}))
    table = _table(
        f"hours of {outcome.hour_requests:,} requests: attacks found, false flags",
        ["set", *(f"{float(share):.0%} attacked" for share in shares)],
        (
            [
                name,
                *(
                    f"{cell['found']:.1%}, {cell['false_discovery_rate']:.1%}"
                    for cell in by_share.values()
                ),
            ]
            for name, by_share in found.items()
        ),
    )
    table.caption = f"flagged in a clean hour: {outcome.clean_flagged or 0:.2f} of 2,000 requests"
    return table


def _contamination(contamination: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    shares = list(next(iter(contamination.values()), {}))
    return _table(
        "contaminated share of an hour: mean estimate, coverage of the 95 % lower bound",
        ["set", *(f"{float(share):.0%}" for share in shares)],
        (
            [
                name,
                *(f"{cell['estimate']:.1%}, {cell['coverage']:.0%}" for cell in by_share.values()),
            ]
            for name, by_share in contamination.items()
        ),
    )


def _patterns(
    pattern: Mapping[str, Mapping[str, Any]], suspects: Mapping[str, float | None]
) -> Table:
    return _table(
        "alarms in windows of 100: their pattern, attacks among the ten most suspicious",
        ["set", "alarms", "adversarial", "drift", "suspects at 30 %"],
        (
            [
                name,
                str(found["alarms"]),
                _percent(found["adversarial"]),
                _percent(found["drift"]),
                _percent(suspects.get(name)),
            ]
            for name, found in pattern.items()
        ),
    )


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
