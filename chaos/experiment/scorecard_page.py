"""The page of the scorecard: what is caught and what is not, in the same font size."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from latentwatch.chaos.experiment.page import PACKAGE
from latentwatch.chaos.experiment.scorecard import SHARES, Cell, Scorecard
from latentwatch.chaos.traffic.errors import ExperimentError
from latentwatch.stream.investigate.page import environment

__all__ = ["FILES", "refuse_overwriting", "write_scorecard"]

FILES = ("scorecard.html", "scorecard.json")


def refuse_overwriting(folder: Path, *, force: bool) -> None:
    """Raise an `ExperimentError` if the folder has a scorecard already, unless `force` is set."""
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise ExperimentError(
            f"{folder} has {', '.join(there)} already: choose another folder, or use --force"
        )


def write_scorecard(card: Scorecard, folder: Path, day: str) -> Path:
    """Write scorecard.html and scorecard.json into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    text = orjson.dumps({"day": day, **card.as_dict()}, option=orjson.OPT_INDENT_2)
    (folder / "scorecard.json").write_bytes(text)
    page = folder / "scorecard.html"
    page.write_text(_render(card, day), encoding="utf-8")
    return page


def _render(card: Scorecard, day: str) -> str:
    made = environment(PACKAGE)
    made.filters["one_in"] = _one_in
    grades = [cell.grade for cell in card.cells]
    page = made.get_template("scorecard.html").render(
        card=card,
        day=day,
        shares=SHARES,
        counts={grade: grades.count(grade) for grade in ("caught", "sometimes", "not caught")},
        rows=[(name, list(cells)) for name, cells in groupby(card.cells, _attack)],
        missed=[cell for cell in card.cells if cell.grade != "caught"],
    )
    return str(page)


def _attack(cell: Cell) -> str:
    return cell.attack


def _one_in(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    if low is None:
        return "too few rows"
    return f"{low:,.0f} to {f'{high:,.0f}' if high else 'more'}"
