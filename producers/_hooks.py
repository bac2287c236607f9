"""The torch forward hooks behind `latentwatch.producers.capture`."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import (
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
    _AvgPoolNd,
    _MaxPoolNd,
)
from torch.utils.hooks import RemovableHandle

from latentwatch.producers._floats import FLOAT16_MAX
from latentwatch.producers.errors import CaptureError

Reducer = Callable[[str, torch.Tensor], torch.Tensor]

_CHANNEL_SECOND = (
    _ConvNd,
    _NormBase,
    nn.GroupNorm,
    _MaxPoolNd,
    _AvgPoolNd,
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
)
_CHANNEL_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.MultiheadAttention, nn.RNNBase)
_NAMES_SHOWN = 40


class _Pass(threading.local):
    """The rows captured, or the fault, of this thread's latest forward pass."""

    def __init__(self) -> None:
        self.rows: dict[str, torch.Tensor] = {}
        self.fault: CaptureError | None = None

    def clear(self) -> None:
        self.rows = {}
        self.fault = None


class Activations:
    """The captured activations of a model; created by `latentwatch.producers.capture`.

    Attributes
    ----------
    names : tuple of str
        The captured modules, in the model's order.
    """

    def __init__(
        self,
        model: nn.Module,
        include_regex: str | re.Pattern[str],
        reducer: Reducer | None,
        dtype: torch.dtype | str,
    ) -> None:
        self._dtype = _supported(dtype)
        self._reducer = reducer
        self._pass = _Pass()
        modules = _matching(model, include_regex)
        self.names = tuple(modules)
        self._handles: list[RemovableHandle] = [model.register_forward_pre_hook(self._begin())]
        for name, module in modules.items():
            hook = self._hook(name, channel_last=_channel_last(model, name))
            self._handles.append(module.register_forward_hook(hook))

    def __repr__(self) -> str:
        return f"<Activations of {', '.join(self.names)}>"

    def remove(self) -> None:
        """Remove the hooks from the model; captured rows can still be read."""
        for handle in self._handles:
            handle.remove()

    def read(self) -> dict[str, NDArray[Any]]:
        """Activations of this thread's latest forward pass, [B, d] for each name; clears them.

        Raises
        ------
        CaptureError
            Nothing ran, a module did not run, row counts differ, or a reduction failed.
        """
        rows, fault = self._pass.rows, self._pass.fault
        self._pass.clear()
        if fault is not None:
            raise fault
        self._check_complete(rows)
        device = rows[self.names[0]].device
        # One flat tensor: one copy to the host, and every layer contiguous in it.
        flat = torch.cat([rows[name].flatten().to(device) for name in self.names])
        if self._dtype == torch.float16:
            flat = flat.clamp(-FLOAT16_MAX, FLOAT16_MAX)
        host: NDArray[Any] = flat.to(self._dtype).cpu().numpy()
        shapes = {name: tuple(rows[name].shape) for name in self.names}
        return _split(host, shapes)

    def _check_complete(self, rows: dict[str, torch.Tensor]) -> None:
        if not rows:
            raise CaptureError(
                "nothing was captured since the last read: call the model first, in this thread"
            )
        missing = [name for name in self.names if name not in rows]
        if missing:
            raise CaptureError(
                f"these modules did not run in the forward pass: {', '.join(missing)}; "
                "narrow include_regex to modules that always run"
            )
        counts = {name: len(rows[name]) for name in self.names}
        if len(set(counts.values())) != 1:
            raise CaptureError(
                f"the modules give different numbers of rows: {counts}; capture modules that see "
                "the whole batch along the first axis, or give a reducer"
            )

    # Both hooks are closures: with bound methods the hooked model could not be deep-copied.

    def _begin(self) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._pass.clear()

        return begin

    def _hook(
        self, name: str, *, channel_last: bool
    ) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            # No error in here may reach inference.
            try:
                self._pass.rows[name] = self._reduce(name, output, channel_last)
            except Exception as error:
                self._remember(name, error)

        return hook

    def _reduce(self, name: str, output: Any, channel_last: bool) -> torch.Tensor:
        tensor = _first_tensor(output)
        if tensor is None:
            raise CaptureError("the output contains no tensor")
        tensor = tensor.detach()
        if self._reducer is None:
            rows = _average_space(tensor, channel_last)
        else:
            rows = self._reducer(name, tensor).detach()
        if rows.ndim != 2:
            raise CaptureError(f"the reduced output has shape {tuple(rows.shape)}, not [B, d]")
        # A copy even if nothing was reduced: a later in-place ReLU would write into the view.
        return rows.to(torch.float32, copy=True)

    def _remember(self, name: str, error: Exception) -> None:
        if self._pass.fault is None:
            self._pass.fault = CaptureError(
                f"module {name} could not be captured: {error}; exclude it from include_regex or "
                "give a reducer that returns a [B, d] tensor for it"
            )
            self._pass.fault.__cause__ = error


def _supported(dtype: torch.dtype | str) -> torch.dtype:
    known = {"float16": torch.float16, "float32": torch.float32}
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise CaptureError(f"dtype {name}: use float16 or float32")
    return known[name]


def _matching(model: nn.Module, include_regex: str | re.Pattern[str]) -> dict[str, nn.Module]:
    try:
        pattern = re.compile(include_regex)
    except re.error as error:
        raise CaptureError(f"include_regex is not a regular expression: {error}") from None
    named = {name: module for name, module in model.named_modules() if name}
    matching = {name: module for name, module in named.items() if pattern.search(name)}
    if not matching:
        shown = ", ".join(list(named)[:_NAMES_SHOWN]) or "none"
        more = f" and {len(named) - _NAMES_SHOWN} more" if len(named) > _NAMES_SHOWN else ""
        raise CaptureError(
            f"no module matches {pattern.pattern!r}; names to choose from: {shown}{more}"
        )
    return matching


def _channel_last(model: nn.Module, name: str) -> bool:
    """Whether a module puts channels last, judging by the operators inside or nearest to it."""
    parts = name.split(".")
    for depth in range(len(parts), -1, -1):
        members = list(model.get_submodule(".".join(parts[:depth])).modules())
        if any(isinstance(member, _CHANNEL_SECOND) for member in members):
            return False
        if any(isinstance(member, _CHANNEL_LAST) for member in members):
            return True
    return False


def _average_space(tensor: torch.Tensor, channel_last: bool) -> torch.Tensor:
    """Mean over all axes but batch and channel for 3 to 5 axes, otherwise flattened; [B, d]."""
    if 3 <= tensor.ndim <= 5:
        axes = range(1, tensor.ndim - 1) if channel_last else range(2, tensor.ndim)
        return tensor.mean(dim=tuple(axes), dtype=torch.float32)
    if tensor.ndim == 0:
        raise CaptureError("the output is a single number")
    return tensor.flatten(1) if tensor.ndim > 1 else tensor.unsqueeze(1)


def _first_tensor(output: Any) -> torch.Tensor | None:
    """The first tensor in a tensor, tuple, list or mapping, depth first."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        for item in output:
            found = _first_tensor(item)
            if found is not None:
                return found
    return None


def _split(flat: NDArray[Any], shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    arrays = {}
    start = 0
    for name, shape in shapes.items():
        stop = start + int(np.prod(shape))
        arrays[name] = flat[start:stop].reshape(shape)
        start = stop
    return arrays
