"""A click group that shows errors of our own as one line, not as a traceback."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["Group"]


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


def is_expected(error: Exception) -> bool:
    """Whether the error says what to do, so that a traceback would only hide it."""
    from detector.errors import DetectorError

    from .errors import StreamError

    return isinstance(error, DetectorError | StreamError | OSError)
