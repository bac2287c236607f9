"""What can go wrong when somebody looks into an alert or into layers."""

from latentwatch.stream.core.errors import StreamError

__all__ = ["InvestigationError"]


class InvestigationError(StreamError):
    """An alert, its requests or its baseline cannot be had, or do not belong together."""
