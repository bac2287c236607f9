"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from latentwatch.stream.core.times import nanoseconds

if TYPE_CHECKING:
    from latentwatch.stream.settings import Settings

__all__ = ["EventTime", "load_settings", "part_options", "settings_option", "use_one_thread"]

Command = TypeVar("Command", bound=Callable[..., Any])

settings_option = click.option(
    "--settings",
    "settings_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with settings; environment variables override it (docs/settings.md).",
)


def load_settings(settings_file: Path | None, **values: Any) -> Settings:
    """Settings from a file, the environment, and options that were given."""
    from latentwatch.stream.settings import Settings

    given = {name: value for name, value in values.items() if value is not None}
    if settings_file is not None:
        given["settings_file"] = settings_file
    return Settings(**given)


def use_one_thread() -> None:
    """As a worker does: small products gain nothing by threads, and give the same bits.

    To be called before numpy is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class EventTime(click.ParamType):
    """A time, RFC 3339 or as much of it as is meant, in nanoseconds since 1970; UTC by default."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse; an hour may stand alone, as in 2026-01-05T10."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-01-05, 2026-01-05T10 or RFC 3339")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return nanoseconds(moment)


def part_options(command: Command) -> Command:
    """Options that select a part of a recording: ``model, version, since_ns, until_ns``."""
    for option in reversed(
        (
            click.option("--model", help="Of this model alone."),
            click.option("--model-version", "version", help="Of this version alone."),
            click.option(
                "--since", "since_ns", type=EventTime(), help="Event times from then on, UTC."
            ),
            click.option(
                "--until", "until_ns", type=EventTime(), help="Event times before then, UTC."
            ),
        )
    ):
        command = option(command)
    return command
