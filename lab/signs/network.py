"""The small residual network that recognises the drawn signs, and the layers to watch in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from latentwatch.lab.signs.templates import CLASS_NAMES
from latentwatch.producers.capture import capture

LAYER_REGEX = r"^layer[134]$"
"""The stages to capture: one early, two deep. `producers.capture` averages their maps over space,
which leaves 16, 64 and 96 numbers for each request."""

STAGES = ("layer1", "layer2", "layer3", "layer4")
"""Names of the residual stages, in the order of depth."""

LOGITS = "logits"
"""Name of the output layer in files of activations."""

SERVICE_BATCH = 64
"""Requests that the service classifies at once."""

_MEAN, _SPREAD = 0.35, 0.17  # of the pixels of the drawn signs


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, basic block).

    Parameters
    ----------
    inputs, outputs
        Channels.
    stride
        Step of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        inner = functional.relu(self.norm1(self.conv1(maps)))
        return functional.relu(self.norm2(self.conv2(inner)) + self.shortcut(maps))


class SignNetwork(nn.Module):
    """A residual network of nine convolutions for 32x32 pictures of traffic signs.

    Takes pictures in [0, 1] and normalises them itself, so that attacks and services work
    on plain pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.layer1 = ResidualBlock(16, 16, stride=1)
        self.layer2 = ResidualBlock(16, 32, stride=2)
        self.layer3 = ResidualBlock(32, 64, stride=2)
        self.layer4 = ResidualBlock(64, 96, stride=1)
        self.classifier = nn.Linear(96, len(CLASS_NAMES))

    def forward(self, images: Tensor) -> Tensor:
        """Map pictures, float32 [B, 3, 32, 32] in [0, 1], to logits [B, classes]."""
        return self.outputs(images)[LOGITS]

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return what can be watched, by layer, as tensors that gradients flow through.

        The maps of each stage are averaged over space, as the hook does; ``logits`` comes last.
        """
        maps = self.stem((images - _MEAN) / _SPREAD)
        pooled: dict[str, Tensor] = {}
        for name in STAGES:
            maps = self.get_submodule(name)(maps)
            pooled[name] = maps.mean(dim=(2, 3))
        return pooled | {LOGITS: self.classifier(pooled[STAGES[-1]])}


class Observed(NamedTuple):
    """Activations and predictions of a set of requests."""

    activations: dict[str, npt.NDArray[np.float16]]
    """float16 [N, d] for each captured layer."""

    logits: npt.NDArray[np.float16]
    """float16 [N, classes]."""

    predicted: npt.NDArray[np.int64]
    """int64 [N], the predicted classes."""


def classify(model: nn.Module, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Return the predicted classes, int64 [N], of pictures [N, 3, 32, 32]."""
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(batch).argmax(dim=1) for batch in torch.split(images, batch_size)])


def observe(model: nn.Module, images: Tensor, *, batch_size: int = SERVICE_BATCH) -> Observed:
    """Classify pictures with the production hook in place, in batches as the service does.

    Parameters
    ----------
    model
        A `SignNetwork`.
    images
        float32 [N, 3, 32, 32], N at least 1.
    batch_size
        Pictures in one forward pass.
    """
    model.eval()
    read: list[dict[str, npt.NDArray[np.float16]]] = []
    logits: list[Tensor] = []
    with torch.inference_mode(), capture(model, include_regex=LAYER_REGEX) as activations:
        for batch in torch.split(images, batch_size):
            logits.append(model(batch))
            read.append(activations.read())
    layers = {name: np.concatenate([part[name] for part in read]) for name in read[0]}
    output = torch.cat(logits)
    return Observed(layers, output.half().numpy(), output.argmax(dim=1).numpy())
