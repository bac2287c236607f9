"""Raw rows, put side by side in single precision."""

import numpy as np
import pytest

from latentwatch.detector.errors import NotFiniteError
from latentwatch.detector.rows import Layout, gather

EVERY_HALF = np.arange(2**16, dtype=np.uint16).view(np.float16)
FINITE = EVERY_HALF[np.isfinite(EVERY_HALF)].reshape(-1, 8)


def layout(*widths: int) -> Layout:
    names = tuple(f"layer{i}" for i in range(len(widths)))
    return Layout(names, widths, np.arange(sum(widths)))


def test_every_finite_half_is_widened_to_the_bit() -> None:
    zeros = np.zeros(len(FINITE), int)
    found, _ = gather(layout(8), {"layer0": FINITE}, zeros, 1)
    assert np.array_equal(found.view(np.uint32), FINITE.astype(np.float32).view(np.uint32))


def test_layers_keep_to_their_columns_whatever_their_precision() -> None:
    rows = FINITE[:50]
    layers = {"layer0": rows, "layer1": rows.astype(np.float64)[:, ::-1], "layer2": rows[:, 3:]}
    found, _ = gather(layout(8, 8, 5), layers, np.zeros(50, int), 1)
    assert np.array_equal(found, np.hstack([rows, rows[:, ::-1], rows[:, 3:]]).astype(np.float32))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_halves_that_are_not_finite_are_refused(value: float) -> None:
    rows = FINITE[:4].copy()
    rows[2, 5] = value
    with pytest.raises(NotFiniteError, match="row 2 of layer 'layer0' is not finite"):
        gather(layout(8), {"layer0": rows}, np.zeros(4, int), 1)
