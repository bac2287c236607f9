"""Self-contained HTML pages, and the files of an alert's report.

The templates are in ``templates/``. All of them extend ``page.html``; with `environment`, other
packages can extend it too.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from latentwatch import __version__
from latentwatch.stream.core.errors import InvestigationError
from latentwatch.stream.core.times import timestamp

__all__ = [
    "FILES",
    "LISTED",
    "Report",
    "data_uri",
    "environment",
    "moment",
    "refuse_overwriting",
    "render",
    "write_report",
]

FILES = ("report.html", "timeline.png", "map.png")

LISTED = 24
"""Requests in the table of a report."""


@dataclass(frozen=True, slots=True)
class Report:
    """The page, and its pictures as PNG."""

    html: str
    timeline: bytes
    map: bytes | None


def environment(*packages: str) -> Environment:
    """Jinja with the templates of this package and of `packages`; every value is escaped."""
    sources = [PackageLoader(name) for name in (*packages, "latentwatch.stream.investigate")]
    made = Environment(
        loader=ChoiceLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["version"] = __version__
    return made


def render(template: str, **values: Any) -> str:
    """Fill in ``window.html`` or ``client.html``."""
    made = environment()
    made.filters["moment"] = lambda text: text.replace("T", " ")[:19] + " UTC"
    return str(made.get_template(template).render(values))


def refuse_overwriting(folder: Path, *, force: bool) -> None:
    """Raise an `InvestigationError` if the folder has a report already, unless `force` is set."""
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise InvestigationError(
            f"{folder} has {', '.join(there)} already: choose another folder, or use --force"
        )


def write_report(report: Report, folder: Path) -> Path:
    """Write the page and its pictures into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        # a report without a map must not leave an old map behind
        (folder / name).unlink(missing_ok=True)
    (folder / "timeline.png").write_bytes(report.timeline)
    if report.map is not None:
        (folder / "map.png").write_bytes(report.map)
    page = folder / "report.html"
    page.write_text(report.html, encoding="utf-8")
    return page


def data_uri(picture: bytes) -> str:
    """A PNG as a ``data:`` URI."""
    return f"data:image/png;base64,{b64encode(picture).decode()}"


def moment(time_ns: int) -> str:
    """Date and time of day, UTC, to display."""
    return timestamp(time_ns)[:19].replace("T", " ")
