"""What an attacker reads from a frozen baseline: the detector's feature maps, with gradients.

An attacker with full knowledge has the artefact that the worker loads. This module alone knows its
layout; it computes in torch what the detector computes in numpy, without rounding to the grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from producers.signs.errors import AttackError

DECIDING_VIEWS = 2
"""The first views decide: the deepest layer, and all layers together."""

_CLIP = 8.0  # standard deviations
_LEAST_ENERGY = 1e-30


class Residuals(NamedTuple):
    """Requests as one view sees them."""

    psi: Tensor
    """float32 [B, r], shortened to the radius."""

    energy: Tensor
    """float32 [B], squared length before shortening."""


@dataclass(frozen=True, eq=False)
class View:
    """One feature map and its null model.

    Parameters
    ----------
    tensors
        The arrays of `detector.features.FeatureMap`, `detector.null.NullModel` and its
        ``Typicality``, by name.
    numbers
        ``radius``, ``pair_variance``, ``energy_variance`` and others.
    """

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, float]

    def residuals(self, rows: Tensor, groups: Tensor) -> Residuals:
        """Map raw rows [B, all columns] of class groups int64 [B]."""
        own = self.tensors
        standard = (rows[:, own["columns"]] - own["mean"]) * own["scale"]
        angle = (standard.clamp(-_CLIP, _CLIP) * own["weight"]) @ own["frequencies"]
        fourier = torch.cat([angle.cos(), angle.sin()], dim=1) * angle.shape[1] ** -0.5
        psi = fourier @ own["whitening"] - own["centres"][groups]
        energy = psi.square().sum(dim=1)
        shrink = (self.numbers["radius"] / energy.clamp(min=_LEAST_ENERGY).sqrt()).clamp(max=1.0)
        return Residuals(psi * shrink[:, None], energy)

    def excess(self, seen: Residuals, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Return T and E of the batch in standard deviations of clean traffic; see `detector.null`.

        They are not bent to a normal distribution: the same pictures are extreme either way.
        """
        n = len(groups)
        counts, means = (self.tensors[name].double() for name in ("counts", "energy_mean"))
        shares = torch.bincount(groups, minlength=len(counts)).double() / n
        length = seen.psi.double().square().sum()
        shift = (seen.psi.double().sum(dim=0).square().sum() - length) / (n * (n - 1))
        finite = 1.0 / n + (shares**2 / counts).sum()
        spread = (2.0 * self.numbers["pair_variance"]) ** 0.5 * finite
        energy_spread = (self.numbers["energy_variance"] * finite) ** 0.5
        expected_shift = (shares**2 * means / counts).sum()
        expected_energy = (shares * means).sum()
        return (shift - expected_shift) / spread, (length / n - expected_energy) / energy_spread

    def atypicality(self, energy: Tensor, groups: Tensor) -> Tensor:
        """Return the log energies [B] standardised within the class groups."""
        log_energy = energy.clamp(min=_LEAST_ENERGY).double().log()
        return (log_energy - self.tensors["centre"][groups]) / self.tensors["spread"][groups]

    def p_values(self, energy: Tensor, groups: Tensor) -> Tensor:
        """Return the typicality p-values, float64 [B]."""
        reference = self.tensors["reference"]
        below = torch.searchsorted(reference, self.atypicality(energy, groups))
        return (1.0 + len(reference) - below) / (1.0 + len(reference))


@dataclass(frozen=True, eq=False)
class DetectorView:
    """The detector as the attacker knows it.

    Parameters
    ----------
    layers
        Watched layers, the earliest first.
    group_of_class
        int64 [classes].
    views
        The deciding views.
    """

    layers: tuple[str, ...]
    group_of_class: Tensor
    views: tuple[View, ...]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read the artefact that ``latentwatch baseline fit`` wrote.

        Raises
        ------
        AttackError
            The file is absent, or is no baseline of this layout.
        """
        try:
            with safe_open(file, framework="pt") as stored:
                described: dict[str, Any] = orjson.loads(stored.metadata()["baseline"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            views = tuple(
                View(_of_view(tensors, index), {k: v for k, v in own.items() if k != "name"})
                for index, own in enumerate(described["views"][:DECIDING_VIEWS])
            )
            return cls(tuple(described["layers"]), tensors["group_of_class"], views)
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise AttackError(
                f"{file} is no baseline that an attacker can read ({error}): write one with "
                "'latentwatch baseline fit'"
            ) from error

    def rows(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Return raw rows [B, all columns], in the half precision in which they travel.

        Gradients pass through the rounding as if it were not there.
        """
        try:
            rows = torch.cat([outputs[name] for name in self.layers], dim=1)
        except KeyError as error:
            raise AttackError(
                f"the baseline watches layer {error}, and the network has "
                f"{', '.join(outputs)}: give the baseline that was fitted on this network"
            ) from error
        return rows + (rows.half().float() - rows).detach()

    def groups(self, predicted: Tensor) -> Tensor:
        """Return the class groups int64 [B] of predicted classes."""
        return self.group_of_class[predicted]


def _of_view(tensors: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    prefix = f"view{index}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
