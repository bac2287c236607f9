"""What can go wrong in an experiment, a branch of the tree in `latentwatch.stream.core.errors`."""

from __future__ import annotations

from latentwatch.stream.core.errors import StreamError

__all__ = ["ExperimentError"]


class ExperimentError(StreamError):
    """An experiment that cannot be run as it stands."""
