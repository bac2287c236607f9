"""The page of an experiment: one self-contained HTML file."""

from __future__ import annotations

from typing import Any

import orjson

from latentwatch.stream.investigate.page import environment

__all__ = ["PACKAGE", "render"]

PACKAGE = "latentwatch.chaos.experiment"
"""The package with the templates."""

WORDS = {
    "held": "The defence held",
    "deviated": "A weakness: the hypothesis did not hold",
    "not run": "The experiment says nothing",
}


def render(**values: Any) -> str:
    """Fill in ``experiment.html``."""
    made = environment(PACKAGE)
    made.filters["plain"] = _plain
    made.filters["tolerance"] = _tolerance
    return str(made.get_template("experiment.html").render(words=WORDS, **values))


def _plain(value: Any) -> str:
    """Flat JSON without its punctuation."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return value.strip() if isinstance(value, str) else orjson.dumps(value).decode()


def _tolerance(value: Any) -> str:
    """A Chaos Toolkit tolerance in words."""
    if not isinstance(value, dict):
        return _plain(value)
    of = f"{value['target']} " if "target" in value else ""
    if value.get("type") == "range":
        low, high = value["range"]
        return f"{of}{low}" if low == high else f"{of}from {low} to {high}"
    return f"{of}matches {value['pattern']}" if value.get("type") == "regex" else _plain(value)
