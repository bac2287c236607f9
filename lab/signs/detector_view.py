"""What an attacker reads from a frozen baseline: the detector's views, with gradients.

An attacker with full knowledge has the artefact that the worker loads. This module alone knows its
layout; it computes in torch what the detector computes in numpy, without rounding to the grid.

Where the detector cuts a number off, gradients pass as if it did not: beyond a bound they would be
zero, and the attacker would take a flat slope for the end of the way (Athalye et al. 2018).
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

from latentwatch.lab.signs.errors import AttackError
from latentwatch.lab.signs.network import LOGITS

FORMAT = "latentwatch-baseline/5"
"""Layout of the artefacts that this module can read."""

DECIDING_VIEWS = 2
"""The first views decide: the deepest layer, and the agreement of all layers."""

_CLIP = 8.0  # standard deviations of a feature
_COLUMN_CLIP = 16.0  # standard deviations of a column of the agreement
_LEAST_DISTANCE = 1e-30
_LEAST_DISTANCE = 1e-6
_LEAST_VARIANCE = 1e-12


class Requests(NamedTuple):
    """A batch as the input of the detector."""

    rows: Tensor
    """float32 [B, all columns]: the layers side by side, then the columns of the agreement."""

    groups: Tensor
    """int64 [B], class groups of the predictions."""


class Residuals(NamedTuple):
    """Requests as one view sees them."""

    psi: Tensor
    """float32 [B, r], shortened to the radius."""

    squared_distance: Tensor
    """float32 [B], squared length before shortening."""


@dataclass(frozen=True, eq=False)
class View:
    """One feature map and its null model.

    Parameters
    ----------
    tensors
        The arrays of `detector.features.FeatureMap`, `detector.null.NullModel` and its
        ``Typicality``, by name.
    radius
        Length to which residuals are shortened.
    """

    tensors: Mapping[str, Tensor]
    radius: float

    def residuals(self, requests: Requests) -> Residuals:
        """Map requests to residuals."""
        own = self.tensors
        angle = (_standardised(requests.rows, own) * own["weight"]) @ own["frequencies"]
        fourier = torch.cat([angle.cos(), angle.sin()], dim=1) * angle.shape[1] ** -0.5
        psi = (fourier - own["centres"][requests.groups]) @ own["whitening"]
        squared_distance = psi.square().sum(dim=1)
        length = squared_distance.detach().clamp(min=_LEAST_DISTANCE).sqrt()
        shrink = (self.radius / length).clamp(max=1.0)
        return Residuals(psi * shrink[:, None], squared_distance)

    def excess(self, seen: Residuals, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Return T and E of the batch in standard deviations of clean traffic.

        The formulas of `latentwatch.detector.null.NullModel.z_scores`, without its bend to a normal
        distribution, which grows with them: the same pictures are extreme either way. The T of a
        single request, which has no pairs, is not above its expectation.
        """
        n, own = len(groups), self.tensors
        shares = torch.bincount(groups, minlength=len(own["counts"])).double() / n
        psi = seen.psi.double()
        length = psi.square().sum()
        shift = (psi.sum(dim=0).square().sum() - length) / (n * max(n - 1, 1))
        # what the class means, which are estimates, add to each
        estimated = shares.square() / own["counts"]
        spread = self._shift_variance(shares, n).sqrt() * (1.0 / n + estimated.sum())
        distance_variance = (shares / n + estimated) @ own["energy_variance"]
        shift_excess = shift - estimated @ own["energy_mean"]
        distance_excess = length / n - shares @ own["energy_mean"]
        return shift_excess / spread, distance_excess / distance_variance.sqrt()

    def _shift_variance(self, shares: Tensor, n: int) -> Tensor:
        """Return the variance of ``(n - 1) T``, which depends on the classes that make pairs."""
        factors, own = self.tensors["pair_factors"], self.tensors["pair_own"]
        pairs = (shares @ factors).square().sum() + shares.square() @ own
        itself = shares @ (factors.square().sum(dim=1) + own)
        return (2.0 * (n * pairs - itself) / max(n - 1, 1)).clamp(min=_LEAST_VARIANCE)

    def atypicality(self, squared_distance: Tensor, groups: Tensor) -> Tensor:
        """Return the log squared distances [B] standardised within the class groups."""
        log_distance = squared_distance.clamp(min=_LEAST_DISTANCE).double().log()
        return (log_distance - self.tensors["centre"][groups]) / self.tensors["spread"][groups]

    def p_values(self, squared_distance: Tensor, groups: Tensor) -> Tensor:
        """Return the typicality p-values, float64 [B]."""
        reference = self.tensors["reference"]
        below = torch.searchsorted(reference, self.atypicality(squared_distance, groups).detach())
        return (1.0 + len(reference) - below) / (1.0 + len(reference))


@dataclass(frozen=True, eq=False)
class Agreement:
    """The columns that say how well each layer agrees with the predicted class.

    Parameters
    ----------
    layers
        The arrays of `latentwatch.detector.agreement.ClassDistances`, by name, for each layer.
    centre, spread
        float64 [groups, k], mean and standard deviation of the k columns.
    """

    layers: tuple[Mapping[str, Tensor], ...]
    centre: Tensor
    spread: Tensor

    def columns(self, rows: Tensor, groups: Tensor) -> Tensor:
        """Return the columns float32 [B, k] of raw rows [B, all columns]."""
        compared = [_compared(_distances(rows, layer), groups) for layer in self.layers]
        centred = torch.cat(compared, dim=1) - self.centre[groups]
        return _cut(centred / self.spread[groups], _COLUMN_CLIP).float()


@dataclass(frozen=True, eq=False)
class DetectorView:
    """The detector as the attacker knows it.

    Parameters
    ----------
    widths
        Width of each watched layer by its name, the earliest first.
    group_of_class
        int64 [classes].
    agreement
        How well the layers agree with the prediction.
    views
        The deciding views.
    """

    widths: Mapping[str, int]
    group_of_class: Tensor
    agreement: Agreement
    views: tuple[View, ...]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read the artefact that ``latentwatch baseline fit`` wrote.

        Raises
        ------
        AttackError
            The file is absent, or not a baseline of this layout.
        """
        try:
            with safe_open(file, framework="pt") as stored:
                metadata: dict[str, str] = stored.metadata()
                if metadata["format"] != FORMAT:
                    raise ValueError(f"its format is {metadata['format']!r}, not {FORMAT!r}")
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            return cls._of(orjson.loads(metadata["baseline"]), tensors)
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise AttackError(
                f"{file} is not a baseline that an attacker can read ({error}): write one with "
                "'latentwatch baseline fit'"
            ) from error

    @classmethod
    def _of(cls, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        names = described["layers"]
        layers = tuple(_below(tensors, f"layer{index}.") for index in range(len(names)))
        views = tuple(
            View(_below(tensors, f"view{index}."), own["radius"])
            for index, own in enumerate(described["views"][:DECIDING_VIEWS])
        )
        agreement = Agreement(layers, tensors["agreement.centre"], tensors["agreement.spread"])
        widths = dict(zip(names, described["widths"], strict=True))
        return cls(widths, tensors["group_of_class"], agreement, views)

    def requests(self, outputs: Mapping[str, Tensor]) -> Requests:
        """Return what the detector is given of the outputs of `SignNetwork.outputs`.

        Activations travel in half precision; gradients pass as if they did not.

        Raises
        ------
        AttackError
            The baseline was not fitted on this network.
        """
        self._check(outputs)
        exact = torch.cat([outputs[name] for name in self.widths], dim=1)
        raw = _passing(exact.half().float(), exact)
        groups = self.group_of_class[outputs[LOGITS].argmax(dim=1)]
        return Requests(torch.cat([raw, self.agreement.columns(raw, groups)], dim=1), groups)

    def _check(self, outputs: Mapping[str, Tensor]) -> None:
        found = {name: tensor.shape[1] for name, tensor in outputs.items()}
        if any(found.get(name) != width for name, width in self.widths.items()):
            raise AttackError(
                f"the baseline watches layers of widths {self.widths}, and the network has "
                f"{found}: give the baseline that was fitted on this network"
            )
        if len(self.group_of_class) < found[LOGITS]:
            raise AttackError(
                f"the baseline has {len(self.group_of_class)} classes, and the network "
                f"{found[LOGITS]}: fit it with --classes {found[LOGITS]} --pool-rare-classes"
            )


def _distances(rows: Tensor, layer: Mapping[str, Tensor]) -> Tensor:
    """Return squared Mahalanobis distances float64 [B, groups] to a layer's class means."""
    points = (_standardised(rows, layer) @ layer["whitening"]).double()
    centres = layer["centres"].double()
    squares = points.square().sum(dim=1, keepdim=True) + centres.square().sum(dim=1)
    return (squares - 2.0 * points @ centres.T).clamp(min=_LEAST_DISTANCE)


def _compared(distances: Tensor, groups: Tensor) -> Tensor:
    """Return the comparisons [B, 4] of `detector.agreement`, or [B, 1] of a single group."""
    own = distances.gather(1, groups[:, None])
    if distances.shape[1] == 1:
        return own.log()
    others = distances.scatter(1, groups[:, None], torch.inf)
    odds = torch.logsumexp(-0.5 * others, dim=1, keepdim=True) + 0.5 * own
    nearest = others.amin(dim=1, keepdim=True)
    mean = (distances.sum(dim=1, keepdim=True) - own) / (distances.shape[1] - 1)
    return torch.cat([own.log(), nearest - own, odds, mean - own], dim=1)


def _standardised(rows: Tensor, stored: Mapping[str, Tensor]) -> Tensor:
    return _cut((rows[:, stored["columns"]] - stored["mean"]) * stored["scale"], _CLIP)


def _cut(values: Tensor, bound: float) -> Tensor:
    return _passing(values.clamp(-bound, bound), values)


def _passing(values: Tensor, smooth: Tensor) -> Tensor:
    """Return values with the gradient of others, which they approximate."""
    return values.detach() + (smooth - smooth.detach())


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
