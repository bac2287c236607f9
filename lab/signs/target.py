"""The traffic signs of the demo as a target of experiments: a network and its pictures."""

from __future__ import annotations

from rich.progress import Progress
from torch import Tensor

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.lab.cache import cache_folder
from latentwatch.lab.signs.checkpoints import load_or_train
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.network import SignNetwork
from latentwatch.lab.signs.training import TrainingSettings

__all__ = ["network", "pictures"]


def network() -> SignNetwork:
    """Return the network of ``make demo``, trained here unless it is in the user's cache."""
    with Progress(disable=True) as progress:
        model, _ = load_or_train(TrainingSettings(), cache_folder() / "signs", progress)
    return model


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw labelled signs that the network was not trained with."""
    return draw_signs(count, seed=derived_seed(seed, "chaos"))
