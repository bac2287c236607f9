"""Activations in npz files, as ``latentwatch evaluate`` and ``baseline fit`` read them.

Arrays ``<set>.<layer>`` (float16 [n, d]) and ``<set>.predicted`` (int [n]). The success of each
attack is in a JSON file of the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import torch

from latentwatch.chaos.traffic.kinds import Kind, changed
from latentwatch.chaos.traffic.target import Inputs, Target, observe

__all__ = ["Arrays", "Sets", "figures_file", "make_sets", "save_arrays", "source"]

Arrays = dict[str, npt.NDArray[Any]]
"""By ``<set>.<layer>`` or ``<set>.predicted``."""


def figures_file(file: Path) -> Path:
    """Return the path of the attacks' figures for an npz file: ``signs.json`` of ``signs.npz``."""
    return file.with_name(file.name.removesuffix(".npz") + ".json")


def save_arrays(file: Path, arrays: Arrays) -> None:
    """Write arrays as an uncompressed npz file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:  # numpy would append a suffix to a bare name
        columns: dict[str, Any] = dict(arrays)
        np.savez(stream, **columns)


@dataclass(frozen=True)
class Sets:
    """Arrays ``<set>.<layer>`` and ``<set>.predicted``, and the figures of each attack."""

    arrays: Arrays = field(default_factory=dict)
    attacks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, target: Target, inputs: Inputs) -> float:
        """Add the activations of inputs; return the share that is misclassified."""
        seen = observe(target, inputs.values)
        self.arrays.update({f"{name}.{layer}": rows for layer, rows in seen.activations.items()})
        self.arrays[f"{name}.predicted"] = seen.predicted.astype(np.int32)
        return float(np.mean(seen.predicted != inputs.labels.numpy()))

    def save(self, file: Path) -> None:
        """Write the arrays, and the figures of the attacks to the .json file of the same name."""
        save_arrays(file, self.arrays)
        figures_file(file).write_bytes(orjson.dumps(self.attacks, option=orjson.OPT_INDENT_2))


def source(target: Target, rows: int, seed: int, poison: Kind | None, share: float) -> Sets:
    """Return the set ``baseline``; with `poison`, a share of its rows is replaced by bad ones.

    Poison is what an attacker leaves in the period that the baseline is fitted on. Nothing marks
    the rows in the file; they come last.
    """
    sets = Sets()
    bad = round(share * rows) if poison is not None else 0
    clean = target.inputs(rows - bad, seed, "validation")
    if poison is None or not bad:
        sets.add("baseline", target, clean)
        return sets
    found = changed(poison, target, bad, seed=seed + 1)
    mixed = Inputs(torch.cat([clean.values, found.values]), torch.cat([clean.labels, found.labels]))
    sets.add("baseline", target, mixed)
    return sets


def make_sets(
    target: Target, kinds: Sequence[Kind], *, clean: int, changed_rows: int, seed: int
) -> Sets:
    """Return the set ``clean``, and one for each kind, named after it and its strength."""
    sets = Sets()
    sets.add("clean", target, target.inputs(clean, seed + 2))
    for kind in kinds:
        found = changed(kind, target, changed_rows, seed=seed + 3)
        success = sets.add(str(kind), target, found)
        if kind.is_attack:
            sets.attacks[str(kind)] = {
                "success": success, "strength": kind.used_strength, "rows": changed_rows,
            }  # fmt: skip
    return sets
