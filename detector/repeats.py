"""Exact repeats: which requests equal an earlier one bit for bit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import Float32, Int64

UInt64 = NDArray[np.uint64]


def row_digests(rows: Float32, predicted: Int64) -> UInt64:
    """Digest uint64 [n] of each raw row [n, d] and its class: a multilinear hash of its bits.

    Two different rows share a digest with a probability of about 2^-32 (Lemire and Kaser 2014), so
    about one request in a billion is mistaken for a repeat.
    """
    keys = _keys(rows.shape[1] + 1)
    bits = np.ascontiguousarray(rows).view(np.uint32)
    digests: UInt64 = bits @ keys[1:] + predicted.astype(np.uint64) * keys[0]
    return digests


@lru_cache(maxsize=64)
def _keys(count: int) -> UInt64:
    rng = np.random.default_rng(0)
    return rng.integers(0, 2**63, count, dtype=np.uint64)


def repeated(digests: UInt64, within: int) -> NDArray[np.bool_]:
    """Whether each digest [n] occurs among the `within` digests before it."""
    order = np.argsort(digests, kind="stable")
    places = order.astype(np.int64)
    same = digests[order[1:]] == digests[order[:-1]]
    found = np.zeros(len(digests), dtype=np.bool_)
    found[places[1:][same & (np.diff(places) <= within)]] = True
    return found
