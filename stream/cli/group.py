"""Click groups that load commands late and show expected errors as one line.

`LazyGroup` follows the recipe for lazy loading in click's documentation.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["Group", "LazyGroup"]


class Group(click.Group):
    """Turns `StreamError` and `DetectorError` into click's way of failing: a message, exit 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if is_expected(error):
                raise click.ClickException(str(error)) from error
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
        """Import a command, or return None where there is none of that name."""
        place = self._commands_at.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found


def is_expected(error: Exception) -> bool:
    """Whether the error says what to do, so that a traceback would only hide it."""
    from latentwatch.detector.errors import DetectorError
    from latentwatch.stream.core.errors import StreamError

    return isinstance(error, DetectorError | StreamError | OSError)
