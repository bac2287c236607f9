"""Click groups that import their commands late and show expected errors as one line.

`LazyGroup` follows the recipe for lazy loading in click's documentation.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import click

from latentwatch.stream.cli.extras import advice

__all__ = ["Group", "LazyGroup"]


class Group(click.Group):
    """A group that reports expected errors of its commands as one line, with exit code 1.

    These are a `StreamError`, a `DetectorError`, an `OSError`, and a missing package that one of
    the extras brings. An unknown command is answered with the nearest known one.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            text = advice(f"{ctx.command_path} {ctx.invoked_subcommand}", error)
            if text is None:
                raise
            raise click.ClickException(text) from error
        except Exception as error:
            if is_expected(error):
                raise click.ClickException(str(error)) from error
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            if near and "Did you mean" not in error.message:
                error.message += f" Did you mean {near[0]!r}?"
            raise


class LazyGroup(Group):
    """A group whose commands are imported when they are used or listed.

    Parameters
    ----------
    commands_at : mapping of str to str
        Where each command is, ``package.module:attribute``.
    """

    def __init__(self, *args: Any, commands_at: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in alphabetical order."""
        return sorted([*super().list_commands(ctx), *self._commands_at])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none with that name."""
        place = self._commands_at.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found


def is_expected(error: Exception) -> bool:
    """Whether the message says what to do, so that a traceback would only hide it."""
    if isinstance(error, OSError):
        return True
    from latentwatch.detector.errors import DetectorError
    from latentwatch.stream.core.errors import StreamError

    return isinstance(error, DetectorError | StreamError)
