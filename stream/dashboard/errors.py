"""What can go wrong with the dashboard.

::

    StreamError
    └── DashboardError       it may not, or cannot, be started as it was asked to
"""

from latentwatch.stream.core.errors import StreamError

__all__ = ["DashboardError"]


class DashboardError(StreamError):
    """An option is missing or contradicts another one, or the history cannot be used."""
