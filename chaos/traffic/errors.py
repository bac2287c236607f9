"""Exceptions of chaos experiments and their traffic, a branch of `latentwatch.stream.core.errors`.

::

    ChaosError
    +-- ExperimentError   an experiment that cannot be run as it stands
    +-- TargetError       the classifier or its inputs cannot be loaded
    +-- TrafficError      traffic that these numbers do not allow, or that was not sent completely
"""

from __future__ import annotations

from latentwatch.stream.core.errors import StreamError

__all__ = ["ChaosError", "ExperimentError", "TargetError", "TrafficError"]


class ChaosError(StreamError):
    """Base of every error that `latentwatch.chaos` raises by itself."""


class ExperimentError(ChaosError):
    """An experiment cannot be run as it stands."""


class TargetError(ChaosError):
    """The classifier or its inputs cannot be loaded, or do not fit each other."""


class TrafficError(ChaosError):
    """Traffic cannot be made from these numbers, or was not sent completely."""
