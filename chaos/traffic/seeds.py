"""Seeds: one for each purpose, and random states that are put back.

The adversarial-robustness-toolbox and torch's layers draw from global generators; `seeded` and
`toolbox_seeded` set these for a while and restore them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derived_seed", "seeded", "toolbox_seeded"]

_SEED_BITS = 63


def derived_seed(seed: int, purpose: str) -> int:
    """Return a seed for one purpose, so that no two purposes share random numbers.

    Parameters
    ----------
    seed
        The user's seed, not negative.
    purpose
        What the random numbers are for, such as ``"training"``.

    Returns
    -------
    int
        Between 0 and 2**63 - 1.
    """
    words = [seed, *purpose.encode()]
    state = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    return state >> (64 - _SEED_BITS)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator of the CPU, for code that takes none, and restore it after."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


@contextmanager
def toolbox_seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, which the toolbox draws its starts from, and restore them."""
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        with seeded(seed):
            yield
    finally:
        np.random.set_state(state)
