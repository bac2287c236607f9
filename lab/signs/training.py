"""Trains the sign network on drawn pictures."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from latentwatch.chaos.traffic.seeds import derived_seed, seeded
from latentwatch.lab.signs.drawing import DATA_VERSION, draw_signs
from latentwatch.lab.signs.errors import NetworkError
from latentwatch.lab.signs.network import SignNetwork, classify

TRAINING_VERSION = 1
"""Raised whenever the same settings train another network; part of the key of the cache."""

_DRAWN_AT_ONCE = 2048
_WINDOW = 50  # steps that the displayed loss and accuracy look back, roughly


@dataclass(frozen=True)
class TrainingSettings:
    """Everything a trained network depends on.

    Parameters
    ----------
    seed
        Seed of pictures, initial weights and order, not negative.
    images
        Training pictures, at least one batch.
    epochs
        Passes over the training pictures.
    batch_size
        Pictures in one step, at least 2.
    learning_rate
        Peak of the schedule.

    Raises
    ------
    NetworkError
        A number is out of range.
    """

    seed: int = 0
    images: int = 20_000
    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 0.15

    def __post_init__(self) -> None:
        if self.seed < 0 or self.epochs < 1 or not 2 <= self.batch_size <= self.images:
            raise NetworkError(
                f"cannot train with {self}: use a seed of at least 0, one epoch or more, and at "
                "least one batch of 2 or more pictures"
            )

    @property
    def key(self) -> str:
        """Hash of these settings, of the drawings and of the training procedure."""
        facts = {**asdict(self), "data": DATA_VERSION, "training": TRAINING_VERSION}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def train(settings: TrainingSettings, progress: Progress) -> SignNetwork:
    """Train a network by gradient descent, under a cosine schedule (Loshchilov & Hutter 2017).

    The same settings give the same weights on the same machine with the same number of threads.
    torch's global random state stays as it was.

    Parameters
    ----------
    settings
        Pictures, epochs and seed.
    progress
        Shows drawing and training, with the loss and accuracy of the latest steps.

    Returns
    -------
    SignNetwork
        In evaluation mode.
    """
    images, labels = _drawn(settings, progress)
    # Convolutions of so few channels run half as fast again in this memory layout.
    images = images.contiguous(memory_format=torch.channels_last)
    model = fresh_network(settings.seed).train()
    optimizer = torch.optim.SGD(
        model.parameters(), settings.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps = settings.images // settings.batch_size * settings.epochs
    schedule = LambdaLR(optimizer, lambda step: _rate(step, steps))
    task = progress.add_task("training", total=steps)
    latest = _Latest()
    for batch in _batches(settings):
        logits = model(images[batch])
        loss = functional.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        latest.update(loss, logits, labels[batch])
        progress.update(task, advance=1, description=f"training: {latest}")
    return model.eval()


def accuracy(model: SignNetwork, *, seed: int, count: int) -> float:
    """Return the share of ``count`` fresh drawings that the network recognises, 0 to 1."""
    images, labels = draw_signs(count, seed=derived_seed(seed, "test"))
    return float((classify(model, images) == labels).double().mean())


def fresh_network(seed: int) -> SignNetwork:
    """Return an untrained network; torch's global random state stays as it was."""
    with seeded(derived_seed(seed, "weights")):
        return SignNetwork()


def _drawn(settings: TrainingSettings, progress: Progress) -> tuple[Tensor, Tensor]:
    """Draw the training pictures, a part at a time so that progress shows."""
    seed = derived_seed(settings.seed, "training")
    task = progress.add_task("drawing traffic signs", total=settings.images)
    parts = []
    for first in range(0, settings.images, _DRAWN_AT_ONCE):
        count = min(_DRAWN_AT_ONCE, settings.images - first)
        parts.append(draw_signs(count, seed=seed, first=first))
        progress.update(task, advance=count)
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _batches(settings: TrainingSettings) -> Iterator[Tensor]:
    """Yield the row numbers of each batch, each epoch in another order; a rest is left out."""
    generator = torch.Generator().manual_seed(derived_seed(settings.seed, "order"))
    for _ in range(settings.epochs):
        order = torch.randperm(settings.images, generator=generator)
        for batch in torch.split(order, settings.batch_size):
            if len(batch) == settings.batch_size:
                yield batch


def _rate(step: int, steps: int) -> float:
    """Return the learning rate as a share of its peak: up for a quarter of the way, then down."""
    rise = max(1, steps // 4)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class _Latest:
    """Loss and accuracy of the latest steps, for display."""

    def __init__(self) -> None:
        self._loss = self._right = 0.0
        self._steps = 0

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._steps += 1
        weight = 1 / min(self._steps, _WINDOW)
        self._loss += weight * (loss.item() - self._loss)
        right = (logits.argmax(dim=1) == labels).double().mean().item()
        self._right += weight * (right - self._right)

    def __str__(self) -> str:
        return f"loss {self._loss:.3f}, accuracy {self._right:.1%}"
