"""Activation files in the form that ``latentwatch evaluate`` and ``baseline fit`` read.

Arrays ``<set>.<layer>`` (float16 [n, d]) and ``<set>.predicted`` (int [n]). What each attack
achieved is in a JSON file beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Arrays", "figures_file", "save_arrays"]

Arrays = dict[str, npt.NDArray[Any]]
"""By ``<set>.<layer>`` or ``<set>.predicted``."""


def figures_file(file: Path) -> Path:
    """Return where the figures of an npz file's attacks stand: ``signs.json`` of ``signs.npz``."""
    return file.with_name(file.name.removesuffix(".npz") + ".json")


def save_arrays(file: Path, arrays: Arrays) -> None:
    """Write arrays as an uncompressed npz file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:  # numpy would append a suffix to a bare name
        columns: dict[str, Any] = dict(arrays)
        np.savez(stream, **columns)
