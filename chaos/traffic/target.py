"""The classifier under attack, named by its import path, and its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from latentwatch.chaos.traffic.errors import TargetError
from latentwatch.chaos.traffic.named import called
from latentwatch.producers.capture import capture

__all__ = ["Inputs", "Seen", "Target", "classify", "observe"]

BATCH = 64
"""Requests that are classified at once, as in a service."""

SPARE = 4
"""Inputs drawn for each one that the classifier must recognise."""

Part = Literal["validation", "traffic"]


class Inputs(NamedTuple):
    """Inputs and their labels."""

    values: Tensor
    """float32 [N, ...]."""

    labels: Tensor
    """int64 [N]."""


Draw = Callable[[int, int], Any]
"""Returns arrays of inputs and labels for a number of inputs and a seed."""


class Seen(NamedTuple):
    """Activations and predicted classes of inputs."""

    activations: dict[str, np.ndarray[Any, np.dtype[np.float16]]]
    """float16 [N, d] by layer."""

    predicted: np.ndarray[Any, np.dtype[np.int64]]
    """int64 [N]."""


@dataclass(frozen=True)
class Target:
    """A classifier and where its inputs come from.

    Parameters
    ----------
    model
        In evaluation mode, on the CPU.
    draw
        Draws inputs; the same number and seed give the same inputs.
    layers
        Regular expression of the modules to capture, see `latentwatch.producers.capture`.
    """

    model: nn.Module
    draw: Draw
    layers: str

    @classmethod
    def of(cls, classifier: str, inputs: str, layers: str) -> Self:
        """Load a target by its names.

        Parameters
        ----------
        classifier
            ``package.module:callable``; called without arguments, it returns a torch module.
        inputs
            An npz file with ``inputs`` [N, ...] and ``labels`` [N], or ``package.module:callable``;
            called with a number and a seed, it returns such arrays or tensors.
        layers
            Regular expression of the modules to capture.

        Raises
        ------
        TargetError
            One of them cannot be imported or read, or has the wrong type.
        """
        model = called(classifier)()
        if not isinstance(model, nn.Module):
            raise TargetError(f"{classifier} returned {type(model).__name__}, not a torch module")
        return cls(model.eval(), _drawing(inputs), layers)

    def inputs(self, count: int, seed: int, part: Part = "traffic") -> Inputs:
        """Draw inputs; those for validation are never those of the traffic."""
        values, labels = self.draw(count, 2 * seed + (part == "traffic"))
        drawn = Inputs(
            torch.as_tensor(values, dtype=torch.float32), torch.as_tensor(labels, dtype=torch.int64)
        )
        if len(drawn.values) != count or len(drawn.labels) != count:
            raise TargetError(
                f"asked for {count} inputs, got {len(drawn.values)} and {len(drawn.labels)} labels"
            )
        return drawn

    def recognised(self, count: int, seed: int) -> Inputs:
        """Draw inputs that the classifier gets right; the others need no attack.

        Raises
        ------
        TargetError
            It gets too few of them right.
        """
        drawn = self.inputs(max(1, min(SPARE * count, count + 512)), seed)
        right = (classify(self.model, drawn.values) == drawn.labels).nonzero().squeeze(1)[:count]
        if len(right) < count:
            raise TargetError(
                f"of {len(drawn.labels)} inputs the classifier gets {len(right)} right, and {count}"
                " are to be attacked: check that the labels are those of its classes"
            )
        return Inputs(drawn.values[right], drawn.labels[right])


def classify(model: nn.Module, values: Tensor) -> Tensor:
    """Return the predicted classes, int64 [N]."""
    with torch.inference_mode():
        parts = [model(batch).argmax(dim=1) for batch in torch.split(values, BATCH)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def observe(target: Target, values: Tensor) -> Seen:
    """Classify at least one input with the production hook in place."""
    rows, predicted = [], []
    with (
        torch.inference_mode(),
        capture(target.model, include_regex=target.layers) as activations,
    ):
        for batch in torch.split(values, BATCH):
            predicted.append(target.model(batch).argmax(dim=1).numpy())
            rows.append(activations.read())
    return Seen(
        {name: np.concatenate([part[name] for part in rows]) for name in rows[0]},
        np.concatenate(predicted),
    )


def _drawing(inputs: str) -> Draw:
    if not inputs.endswith(".npz"):
        return called(inputs)
    try:
        with np.load(inputs) as arrays:
            values, labels = arrays["inputs"], arrays["labels"]
    except (OSError, ValueError, KeyError) as error:
        raise TargetError(
            f"cannot use {inputs} ({error}): it has to be an npz file with the arrays inputs "
            "[N, ...] and labels [N]"
        ) from error
    return _FromFile(Path(inputs).name, values, labels)


@dataclass(frozen=True)
class _FromFile:
    """Draws rows of a file; an even seed draws from one half of them, an odd one from the other."""

    name: str
    values: Any
    labels: Any

    def __call__(self, count: int, seed: int) -> tuple[Any, Any]:
        halves = np.random.default_rng(0).permutation(len(self.labels))
        half = halves[seed % 2 :: 2]
        if count > len(half):
            # an exact repeat of a request is judged once: traffic must not repeat its inputs
            raise TargetError(
                f"{self.name} has {len(half)} inputs for that, and {count} are needed: give more "
                "inputs, or ask for fewer requests"
            )
        rows = np.random.default_rng([seed, 1]).permutation(half)[:count]
        return self.values[rows], self.labels[rows]
