"""The check of a baseline's signature before a worker loads it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import structlog

from latentwatch.detector.artefact import read
from latentwatch.stream.core.errors import SettingsError, SignatureError

__all__ = ["Trust", "trust_of"]

Trust = Callable[[str, bytes], None]
"""Called with the URL and the bytes of a baseline; raises `SignatureError` to refuse it."""


def trust_of(public_keys: Path | None, *, required: bool) -> Trust:
    """The check that the two settings require.

    Parameters
    ----------
    public_keys
        PEM file of the trusted keys; None trusts every baseline in the folder.
    required
        Whether to refuse a baseline without a signature; otherwise it causes a warning.

    Raises
    ------
    SettingsError
        The extra is not installed.
    SignatureError
        The file has no public keys.
    """
    if public_keys is None:
        return lambda url, content: None
    if importlib.util.find_spec("cryptography") is None:
        raise SettingsError(
            "baseline_public_keys needs cryptography: pip install 'latentwatch[sign]'"
        )
    from latentwatch.stream.signing.signatures import read_public_keys, signature_url, signer

    keys = read_public_keys(public_keys)
    log = structlog.get_logger("latentwatch.baselines")

    def check(url: str, content: bytes) -> None:
        try:
            signature = read(signature_url(url))
        except FileNotFoundError:
            if required:
                raise SignatureError(
                    f"{url} is not signed, and require_signed_baselines is set: sign it with "
                    "`latentwatch baseline sign`"
                ) from None
            log.warning("baseline not signed: used all the same", url=url)
            return
        try:
            key = signer(content, signature, keys)
        except SignatureError as error:
            raise SignatureError(f"{url} is refused: {error}") from None
        log.info("baseline signed", url=url, key=key)

    return check
