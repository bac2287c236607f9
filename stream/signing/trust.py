"""What a worker asks of a baseline before it reads it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import structlog

from latentwatch.detector.artefact import read
from latentwatch.stream.core.errors import SettingsError, SignatureError

__all__ = ["Trust", "trust_of"]

Trust = Callable[[str, bytes], None]
"""Is given the URL of a baseline and its bytes; raises `SignatureError` where it disbelieves."""


def trust_of(public_keys: Path | None, *, required: bool) -> Trust:
    """Return the check that two settings ask for.

    Parameters
    ----------
    public_keys
        PEM file of the keys that are believed; None believes whatever lies in the folder.
    required
        Whether a baseline without a signature is refused; otherwise it is warned of.

    Raises
    ------
    SettingsError
        The extra is not installed.
    SignatureError
        The file holds no public keys.
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
