"""Featurisers: the one place where a baseline's feature maps are executed.

A baseline says what to compute; a `Featuriser` says how. numpy is here, and torch in
`stream.service.accelerated`. All workers of a lane should use the same one, because the last digits
of residuals depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from latentwatch.detector.features import Float32, Int16, Int64
from latentwatch.detector.parts import BaselineParts

Chunk = tuple[Float32, Int64]
"""Raw rows float32 [CHUNK_ROWS, all columns] and their class groups int64 [CHUNK_ROWS]."""


class Residuals(NamedTuple):
    """Residuals of one chunk in all V views side by side.

    Parameters
    ----------
    psi : int16 [CHUNK_ROWS, R]
        Residuals on the grid, shortened to the radius of their view.
    lengths : int64 [CHUNK_ROWS, V]
        ``||psi||^2`` of each view, in squared grid steps.
    squared_distance : float32 [CHUNK_ROWS, V]
        Squared length before shortening.
    """

    psi: Int16
    lengths: Int64
    squared_distance: Float32

    @classmethod
    def of(cls, parts: BaselineParts, psi: Int16, squared_distance: Float32) -> Self:
        """Add the lengths."""
        lengths = np.empty(squared_distance.shape, dtype=np.int64)
        for index, view in enumerate(parts.views):
            # grid steps are integers, and their squares sum to less than 2**53: exact
            exact = psi[:, view.slice].astype(np.float64)
            lengths[:, index] = np.einsum("ij,ij->i", exact, exact)
        return cls(psi, lengths, squared_distance)


class Featuriser(Protocol):
    """Executes the feature maps of any baseline."""

    def residuals(self, parts: BaselineParts, chunks: Iterable[Chunk]) -> Iterable[Residuals]:
        """Residuals of each chunk, in the order of the chunks."""


@dataclass(frozen=True, slots=True)
class NumpyFeaturiser:
    """Featurises on the CPU, one chunk after the other."""

    def residuals(self, parts: BaselineParts, chunks: Iterable[Chunk]) -> Iterable[Residuals]:
        """Residuals of each chunk, in the order of the chunks."""
        return (_residuals(parts, rows, groups) for rows, groups in chunks)


NUMPY = NumpyFeaturiser()


@dataclass(frozen=True, slots=True)
class ParallelFeaturiser:
    """Runs another featuriser on several chunks at once; the bits are the same.

    Parameters
    ----------
    featuriser : Featuriser
    map : callable
        The `map` of a thread pool.
    """

    featuriser: Featuriser
    map: Callable[..., Iterable[Any]]

    def residuals(self, parts: BaselineParts, chunks: Iterable[Chunk]) -> Iterable[Residuals]:
        """Residuals of each chunk, in the order of the chunks."""

        def one(chunk: Chunk) -> Residuals:
            (found,) = self.featuriser.residuals(parts, [chunk])
            return found

        return self.map(one, chunks)


def _residuals(parts: BaselineParts, rows: Float32, groups: Int64) -> Residuals:
    known = np.hstack([rows, parts.agreement.columns(rows, groups)])
    psi = np.empty((len(rows), parts.width), dtype=np.int16)
    squared_distance = np.empty((len(rows), len(parts.views)), dtype=np.float32)
    for index, view in enumerate(parts.views):
        psi[:, view.slice], squared_distance[:, index] = view.map.residuals(known, groups)
    return Residuals.of(parts, psi, squared_distance)
