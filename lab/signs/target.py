"""The demo's traffic signs as a target: ``lab.signs.target:network`` and ``...:pictures``."""

from __future__ import annotations

import os
from pathlib import Path

from rich.progress import Progress
from torch import Tensor

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.lab.signs.checkpoints import load_or_train
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.network import SignNetwork
from latentwatch.lab.signs.training import TrainingSettings

__all__ = ["network", "pictures"]


def network() -> SignNetwork:
    """Return the network of ``make demo``, trained now unless the user's cache has it."""
    with Progress(disable=True) as progress:
        model, _ = load_or_train(TrainingSettings(), _cache(), progress)
    return model


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw labelled signs that the network was not trained with."""
    return draw_signs(count, seed=derived_seed(seed, "chaos"))


def _cache() -> Path:
    """Where the demo keeps its networks, see ``latentwatch.lab.brokers.cache_folder``."""
    named = os.environ.get("LATENTWATCH_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME")
    home = Path(shared) if shared else Path.home() / ".cache"
    return (Path(named) if named else home / "latentwatch") / "signs"
