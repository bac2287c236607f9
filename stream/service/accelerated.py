"""The feature maps of baselines on an accelerator, with torch; everything else stays on the CPU.

The arithmetic is that of `detector.features` and `detector.agreement`, in the same order and in
chunks of the same shape, so one device gives the same bits for the same row whatever the batches.
Between devices the last digits differ. On real activations (CIFAR-10, three layers), on an H200:
one residual in 1,300 by a grid step, 1/256 of a standard deviation, squared distances by 6e-6 of
their size, scores of clean windows by less than 0.0005 and of attacked ones by less than 0.002,
where thresholds are about 4.4; every alarm is the same.

A chunk takes about a hundred small kernels, and on a CUDA device the launches dominate the cost.
They are therefore recorded once as a graph, which is replayed with a single launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from latentwatch.detector.agreement import LEAST_DISTANCE, STANDARD_CLIP, ClassDistances
from latentwatch.detector.features import CHUNK_ROWS, CLIP, GRID, FeatureMap, Float32, Int16, Int64
from latentwatch.detector.featuriser import Chunk, Residuals
from latentwatch.detector.parts import BaselineParts
from latentwatch.stream.core.errors import SettingsError

__all__ = ["TorchFeaturiser", "chosen_device"]


def chosen_device(setting: str) -> torch.device | None:
    """The device that the setting ``feature_device`` names; None means numpy on the CPU.

    Raises
    ------
    SettingsError
        The device is not available.
    """
    if setting == "cpu" or (setting == "auto" and not torch.cuda.is_available()):
        return None
    device = torch.device("cuda" if setting == "auto" else setting)
    if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"feature_device is {setting!r}, and torch sees {torch.cuda.device_count()} such "
            "devices here: set it to auto, which uses one if there is one, or to cpu"
        )
    return device


_Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class TorchFeaturiser:
    """Featurises on a device.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._prepared: WeakKeyDictionary[BaselineParts, _Maps] = WeakKeyDictionary()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[TorchFeaturiser], tuple[torch.device]]:
        """Another process, such as a worker of an offline replay, prepares its own copy."""
        return TorchFeaturiser, (self.device,)

    def residuals(self, parts: BaselineParts, chunks: Iterable[Chunk]) -> Iterable[Residuals]:
        """Residuals of each chunk, in the order of the chunks."""
        maps = self._maps_of(parts)
        return (Residuals.of(parts, *maps(rows, groups)) for rows, groups in chunks)

    def _maps_of(self, parts: BaselineParts) -> _Maps:
        with self._lock:
            if parts not in self._prepared:
                self._prepared[parts] = _Maps(parts, self.device)
            return self._prepared[parts]


class _Maps:
    """All feature maps of a baseline on a device."""

    def __init__(self, parts: BaselineParts, device: torch.device) -> None:
        self._distances = [_Distances(layer, device) for layer in parts.agreement.layers]
        self._centre = _tensor(parts.agreement.centre, device)
        self._spread = _tensor(parts.agreement.spread, device)
        self._maps = [_Map(view.map, device) for view in parts.views]
        self._one_at_a_time = Lock()  # a graph has one place for its input
        self._compute: _Compute = self._residuals
        if device.type == "cuda":
            self._compute = _graph(self._residuals, sum(parts.layout.widths), device)

    @torch.inference_mode()
    def __call__(self, rows: Float32, groups: Int64) -> tuple[Int16, Float32]:
        with self._one_at_a_time:
            psi, squared_distance = self._compute(
                torch.from_numpy(np.ascontiguousarray(rows)),
                torch.from_numpy(np.ascontiguousarray(groups)),
            )
            return psi.cpu().numpy(), squared_distance.cpu().numpy()

    def _residuals(self, raw: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        known = torch.hstack([raw, self._agreement(raw, group)])
        found = [view(known, group) for view in self._maps]
        psi = torch.hstack([psi for psi, _ in found])
        return psi, torch.stack([squared_distance for _, squared_distance in found], dim=1)

    def _agreement(self, raw: Tensor, group: Tensor) -> Tensor:
        parts = [_compared(distances(raw), group) for distances in self._distances]
        standard = (torch.hstack(parts) - self._centre[group]) / self._spread[group]
        return standard.clip(-STANDARD_CLIP, STANDARD_CLIP).float()


class _Distances:
    """`ClassDistances` on a device."""

    def __init__(self, layer: ClassDistances, device: torch.device) -> None:
        self._columns = _tensor(layer.columns, device)
        self._mean, self._scale = _tensor(layer.mean, device), _tensor(layer.scale, device)
        self._whitening = _tensor(layer.whitening, device)
        self._centres = _tensor(layer.centres, device).double()

    def __call__(self, raw: Tensor) -> Tensor:
        standard = ((raw[:, self._columns] - self._mean) * self._scale).clip(-CLIP, CLIP)
        points, centres = (standard @ self._whitening).double(), self._centres
        squares = (points**2).sum(dim=1)[:, None] + (centres**2).sum(dim=1)
        return (squares - 2.0 * points @ centres.T).clip(min=LEAST_DISTANCE)


class _Map:
    """`FeatureMap.residuals` on a device."""

    def __init__(self, known: FeatureMap, device: torch.device) -> None:
        self._columns = _tensor(known.columns, device)
        self._mean, self._scale = _tensor(known.mean, device), _tensor(known.scale, device)
        self._weight = _tensor(known.weight, device)
        self._frequencies = _tensor(known.frequencies, device)
        self._whitening = _tensor(known.whitening, device)
        self._centres = _tensor(known.centres, device)
        self._radius = known.radius

    def __call__(self, known: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        standard = ((known[:, self._columns] - self._mean) * self._scale).clip(-CLIP, CLIP)
        angle = (standard * self._weight) @ self._frequencies
        phi = torch.hstack([angle.cos(), angle.sin()]) * angle.shape[1] ** -0.5
        psi = (phi - self._centres[group]) @ self._whitening
        squared_distance = (psi**2).sum(dim=1)
        shrink = (self._radius / squared_distance.sqrt()).clip(max=1.0) * GRID
        return (psi * shrink[:, None]).round().clip(-32767, 32767).short(), squared_distance


def _graph(compute: _Compute, width: int, device: torch.device) -> _Compute:
    """The same computation, of chunks on the processor, as one launch on a CUDA device."""
    rows = torch.zeros((CHUNK_ROWS, width), dtype=torch.float32, device=device)
    groups = torch.zeros(CHUNK_ROWS, dtype=torch.int64, device=device)
    with torch.inference_mode(), torch.cuda.device(device):
        aside = torch.cuda.Stream()
        with torch.cuda.stream(aside):  # libraries set themselves up, which no graph may hold
            compute(rows, groups)
        aside.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = compute(rows, groups)

    def replayed(raw: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        with torch.cuda.device(device):
            rows.copy_(raw)
            groups.copy_(group)
            graph.replay()
        return found

    return replayed


def _compared(distances: Tensor, group: Tensor) -> Tensor:
    """`latentwatch.detector.agreement.compare_classes` on a device."""
    own = distances.gather(1, group[:, None])[:, 0]
    if distances.shape[1] == 1:
        return own.log()[:, None]
    others = distances.scatter(1, group[:, None], torch.inf)
    nearest = others.amin(dim=1)
    rest = (-0.5 * (others - nearest[:, None])).exp().sum(dim=1).log()
    mean = (distances.sum(dim=1) - own) / (distances.shape[1] - 1)
    return torch.stack(
        [own.log(), nearest - own, rest - 0.5 * nearest + 0.5 * own, mean - own], dim=1
    )


def _tensor(values: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(values), device=device)
