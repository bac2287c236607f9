"""Exceptions of the traffic of chaos experiments, a branch of the tree in `producers.errors`.

::

    ChaosError
    +-- TargetError    the classifier or its inputs cannot be had
    +-- TrafficError   traffic that cannot be made from these numbers, or was not played completely
"""

from __future__ import annotations

from latentwatch.producers.errors import ProducerError

__all__ = ["ChaosError", "TargetError", "TrafficError"]


class ChaosError(ProducerError):
    """Anything that the traffic of chaos experiments raises on purpose."""


class TargetError(ChaosError):
    """The classifier or its inputs cannot be had, or do not fit each other."""


class TrafficError(ChaosError):
    """Traffic that cannot be made from these numbers, or was not played completely."""
