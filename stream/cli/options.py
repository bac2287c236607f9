"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import structlog

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


def load_settings(settings_file: Path | None, *, logs: bool = False, **values: Any) -> Settings:
    """Settings from a file, the environment, and the given options.

    Misspelt environment variables cause a warning: on standard error, or with `logs` in the log,
    which is then configured as the settings say.
    """
    from latentwatch.stream.settings import Settings

    given = {name: value for name, value in values.items() if value is not None}
    if settings_file is not None:
        given["settings_file"] = settings_file
    settings = Settings(**given)
    if logs:
        from latentwatch.stream.settings.logs import configure_logs

        configure_logs(settings)
    _warn_of_unknown_variables(logs=logs)
    return settings


def _warn_of_unknown_variables(*, logs: bool) -> None:
    from latentwatch.stream.settings import Settings
    from latentwatch.stream.settings.sources import nearest_variable, unknown_variables

    known = Settings.model_fields
    for name in unknown_variables(known):
        nearest = nearest_variable(name, known)
        if logs:
            structlog.get_logger("latentwatch.settings").warning(
                "unknown environment variable ignored", variable=name, did_you_mean=nearest
            )
        else:
            hint = f": did you mean {nearest}?" if nearest else ": see docs/settings.md"
            click.echo(f"warning: {name} is not a setting and is ignored{hint}", err=True)


def use_one_thread() -> None:
    """Let numpy use one thread, as a worker does, so that sums have the same bits.

    Threads would not speed up products this small. Call it before numpy is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class EventTime(click.ParamType):
    """A time in RFC 3339 or a prefix of it, as nanoseconds since 1970; UTC by default."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse; minutes may be omitted, as in 2026-01-05T10."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time: write 2026-01-05, 2026-01-05T10 or RFC 3339")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return nanoseconds(moment)


def part_options(command: Command) -> Command:
    """Options that select a part of a recording: ``model, version, since_ns, until_ns``."""
    for option in reversed(
        (
            click.option("--model", help="Only this model."),
            click.option("--model-version", "version", help="Only this version."),
            click.option(
                "--since",
                "since_ns",
                type=EventTime(),
                help="Event times at or after this time, UTC.",
            ),
            click.option(
                "--until", "until_ns", type=EventTime(), help="Event times before this time, UTC."
            ),
        )
    ):
        command = option(command)
    return command
