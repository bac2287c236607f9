"""Capture activations of a torch model with forward hooks, chosen by a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from latentwatch.producers.errors import CaptureError

if TYPE_CHECKING:
    import torch

    from latentwatch.producers._hooks import Activations

__all__ = ["CaptureError", "capture"]


@contextmanager
def capture(
    model: torch.nn.Module,
    *,
    include_regex: str | re.Pattern[str],
    reducer: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
    dtype: torch.dtype | str = "float16",
) -> Iterator[Activations]:
    r"""Hook the modules whose names match, and return their outputs batch by batch.

    Parameters
    ----------
    model : torch.nn.Module
        The model in service. It may be used from several threads: each thread reads the
        activations of its own forward passes.
    include_regex : str or compiled pattern
        Searched (`re.search`) in the names of ``model.named_modules()``. ``"layer4"`` also
        matches ``layer4.0.conv1``; end with ``$`` to select one module. The model itself, whose
        name is empty, is never matched.
    reducer : callable (name, tensor) -> tensor [B, d], optional
        Used instead of the default reduction, on the device, inside the forward pass.
    dtype : 'float16' or 'float32', optional
        Type of the arrays that `read` returns. float16 saturates at +-65504.

    Yields
    ------
    Activations
        ``.names`` are the matched modules; ``.read()`` returns ``{name: array [B, d]}`` of the
        latest forward pass in this thread, and clears it.

    Raises
    ------
    CaptureError
        On entry: no module matches, or an argument is wrong. From ``read()``: no forward pass
        ran since the last read, a matched module did not run in it, the rows of the layers
        differ, or a reduction failed.

    Notes
    -----
    *Reduction.* Outputs of three to five axes are averaged over space: all axes but batch and
    channel. The channel is the second axis, [B, C, H, W], unless the module is made of
    channel-last operators (Linear, LayerNorm, attention) and no convolution or batch norm, as in
    a transformer; then it is the last, [B, tokens, C]. A module that has neither, such as an
    activation function, follows the nearest enclosing module that has. Anything else is flattened
    to [B, d]. Of a tuple, list or mapping the first tensor is taken. The batch is the first axis;
    modules that put it elsewhere need a `reducer`.

    *Which pass.* Each forward pass of `model` replaces what the one before left, so call
    ``read()`` after each batch. A module that runs several times in one pass keeps its last
    output.

    *Cost and safety.* Hooks neither touch outputs nor autograd, reduce on the device, and keep
    copies of the reduced rows only, so that later in-place operations do no harm. ``read()`` makes
    one device-to-host copy, whatever the number of layers. An error in a hook or reducer does
    not reach the forward pass; the next ``read()`` raises it. Hooks are removed on exit, also after
    an exception. ``torch.nn.DataParallel`` runs its replicas in other threads and cannot be
    captured. ``torch.nn.TransformerEncoderLayer`` leaves its fused path when anything is hooked,
    which can change its output by rounding.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    >>> with capture(model, include_regex=r"^1$") as activations:
    ...     output = model(torch.zeros(2, 3, 16, 16))
    ...     batch = activations.read()
    >>> batch["1"].shape
    (2, 8)
    """
    # torch is slow to import, and code that only reads messages does not need it
    from latentwatch.producers._hooks import Activations

    activations = Activations(model, include_regex, reducer, dtype)
    try:
        yield activations
    finally:
        activations.remove()
