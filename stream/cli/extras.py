"""Which extra brings a missing package: the one place that knows, for every command.

A command imports what it needs when it runs. If a package is missing, `Group` turns the
`ModuleNotFoundError` into one line with the ``pip install`` that helps. A command that would have
done half of its work by then calls `need` first.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping

import click

__all__ = ["EXTRAS", "advice", "missing", "need"]

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "PIL": ("demo", "chaos"),
    "aiohttp": ("dashboard", "notify"),
    "apprise": ("notify",),
    "art": ("demo", "chaos"),
    "chaoslib": ("chaos",),
    "confluent_kafka": ("demo",),
    "cramjam": ("worker",),
    "cryptography": ("sign",),
    "fastapi": ("dashboard",),
    "faust": ("worker",),
    "fsspec": ("detector",),
    "jgo": ("demo", "chaos"),
    "jinja2": ("record", "chaos"),
    "matplotlib": ("record", "demo"),
    "opentelemetry": ("traces",),
    "platformdirs": ("demo", "chaos"),
    "prometheus_client": ("metrics", "dashboard"),
    "psutil": ("demo",),
    "pyarrow": ("record",),
    "pydantic_settings": ("worker",),
    "rich": ("worker",),
    "safetensors": ("detector",),
    "scipy": ("detector",),
    "sklearn": ("record",),
    "structlog": ("worker",),
    "tenacity": ("notify",),
    "torch": ("demo", "chaos"),
    "torchvision": ("bench",),
    "uvicorn": ("dashboard",),
}
"""Extras that list each package, by the name it is imported by; the first one is suggested."""


def missing(*extras: str) -> list[str]:
    """Packages of these extras that are not installed, in alphabetical order."""
    listed = [package for package, where in EXTRAS.items() if not set(where).isdisjoint(extras)]
    return sorted(name for name in listed if not _is_installed(name))


def _is_installed(package: str) -> bool:
    # a package that was imported may have put something without a spec in its place, as Faust does
    known = sys.modules.get(package)
    return known is not None or importlib.util.find_spec(package) is not None


def need(*extras: str) -> None:
    """Fail unless all packages of these extras are installed.

    Raises
    ------
    click.ClickException
        A package is missing; the message says what to install.
    """
    if packages := missing(*extras):
        command = click.get_current_context().command_path
        raise click.ClickException(_sentence(command, packages, extras))


def advice(command: str, error: ModuleNotFoundError) -> str | None:
    """What to install for a command that failed, or None if no extra has the missing package."""
    package = (error.name or "").partition(".")[0]
    extras = EXTRAS.get(package)
    return _sentence(command, [package], extras[:1]) if extras else None


def _sentence(command: str, packages: list[str], extras: tuple[str, ...]) -> str:
    return f"`{command}` needs {', '.join(packages)}: pip install 'latentwatch[{','.join(extras)}]'"
