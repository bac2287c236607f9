"""Objects that a command or a file names by their import path; imported without torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from latentwatch.chaos.traffic.errors import TargetError

__all__ = ["called"]


def called(path: str) -> Callable[..., Any]:
    """Import ``package.module:callable``."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise TargetError(
            f"cannot import {path!r} ({error}): write package.module:callable, importable from here"
        ) from error
    if not callable(found):
        raise TargetError(
            f"{path} is not callable but a {type(found).__name__}: name a function or a class"
        )
    return found  # type: ignore[no-any-return]
