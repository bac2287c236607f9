"""What can go wrong with signatures."""

from latentwatch.stream.core.errors import StreamError

__all__ = ["SignatureError"]


class SignatureError(StreamError):
    """A key cannot be used, or a signature is missing, damaged, or not of a key that is trusted."""
