"""What can go wrong in an experiment, a branch of the tree in `stream.errors`."""

from __future__ import annotations

from stream.errors import StreamError

__all__ = ["ExperimentError"]


class ExperimentError(StreamError):
    """An experiment that cannot be run as it stands."""
