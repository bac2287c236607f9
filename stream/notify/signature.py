"""Signatures of webhooks: HMAC-SHA256 (RFC 2104) of the time and the body."""

from __future__ import annotations

import hashlib
import hmac

__all__ = ["SIGNATURE_HEADER", "TIMESTAMP_HEADER", "sign"]

TIMESTAMP_HEADER = "latentwatch-timestamp"
SIGNATURE_HEADER = "latentwatch-signature"


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Signature of a body sent at a time: ``v1=`` and 64 hexadecimal digits.

    The time is signed too: a request that somebody kept cannot be sent again later.

    Parameters
    ----------
    secret : bytes
    timestamp : str
        Seconds since 1970, as in the header.
    body : bytes
        As sent, before anything parses it.

    Examples
    --------
    >>> sign(b"secret", "1767607360", b"{}")[:15]
    'v1=2cb9a4dc501f'
    """
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"
