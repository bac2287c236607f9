"""What can go wrong while people are told.

::

    StreamError
    └── NotifyError          a target that cannot be right
        └── DeliveryError    a target that did not take a notification; it is tried again
"""

from latentwatch.stream.core.errors import StreamError

__all__ = ["DeliveryError", "NotifyError"]


class NotifyError(StreamError):
    """A target is malformed, has no secret, or needs a package that is missing."""


class DeliveryError(NotifyError):
    """A target refused a notification, hung, or could not be reached. Holds no secret."""
