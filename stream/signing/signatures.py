"""Detached signatures of baselines: Ed25519 (RFC 8032) over the SHA-256 of the file.

Next to ``7.safetensors`` is ``7.safetensors.sig``, one line of text::

    latentwatch-baseline-signature/1 <key> <signature>

the first 16 hexadecimal digits of the SHA-256 of the public key's 32 bytes, which show people
whose signature it is but prove nothing, and the 64 bytes of the signature in base 64. What is
signed is the format's name, a zero byte, and the 32 bytes of the SHA-256 of all of the file: a
signature that the key gives for another purpose can never pass for one of a baseline. Model and
version are in the file, so they are signed as well.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from latentwatch.stream.core.errors import SignatureError

__all__ = [
    "FORMAT",
    "key_id",
    "make_key",
    "public_file_of",
    "read_private_key",
    "read_public_keys",
    "sign",
    "signature_url",
    "signer",
]

FORMAT = "latentwatch-baseline-signature/1"
SIGNATURE_BYTES = 64

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


def signature_url(url: str) -> str:
    """Where the signature of a baseline lies."""
    return f"{url}.sig"


def public_file_of(private: Path) -> Path:
    """Where `make_key` puts the public key: ``signing.pub.pem`` next to ``signing.pem``."""
    return private.with_suffix(f".pub{private.suffix}")


def make_key(private: Path) -> Ed25519PublicKey:
    """Make a key: the private one into a file for its owner alone, the public one next to it.

    Raises
    ------
    SignatureError
        One of the files is there already: keys are never replaced.
    OSError
        They cannot be written.
    """
    key, public = Ed25519PrivateKey.generate(), public_file_of(private)
    for path in (private, public):
        if path.exists():
            raise SignatureError(
                f"{path} is there already, and a key that is replaced is lost: choose another name"
            )
    _create(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _create(public, pem, 0o644)
    return key.public_key()


def _create(path: Path, content: bytes, mode: int) -> None:
    # never open to others, not even for a moment, and never through a link that lies there
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises
    ------
    SignatureError
        The file cannot be read, or holds no Ed25519 key without a password.
    """
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(
            f"{path} holds no private Ed25519 key in PEM without a password: make one with "
            "`latentwatch baseline keygen`"
        )
    return key


def read_public_keys(path: Path) -> tuple[Ed25519PublicKey, ...]:
    """Read all public keys of a PEM file; several while keys are changed.

    Raises
    ------
    SignatureError
        The file cannot be read, holds no key, or one that is not public or not Ed25519.
    """
    blocks = list(_BLOCK.finditer(_read(path)))
    if not blocks:
        raise SignatureError(
            f"{path} holds no key in PEM: name the .pub.pem file that `latentwatch baseline "
            "keygen` wrote"
        )
    return tuple(_public_key(block[0], block[1], path) for block in blocks)


def _public_key(block: bytes, label: bytes, path: Path) -> Ed25519PublicKey:
    if b"PRIVATE" in label:
        raise SignatureError(
            f"{path} holds a private key: give workers the public one (.pub.pem) alone, and make "
            "a new key if others could read this file"
        )
    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(
            f"{path} holds something else than public Ed25519 keys: put keys of `latentwatch "
            "baseline keygen` into it, one after the other"
        )
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SignatureError(
            f"the key file {path} cannot be read ({error.strerror}): correct the name, or its mode"
        ) from error


def key_id(key: Ed25519PublicKey) -> str:
    """Short name of a public key, to display."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def sign(content: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return what the signature file of a baseline holds."""
    signature = b64encode(key.sign(_signed(content))).decode()
    return f"{FORMAT} {key_id(key.public_key())} {signature}\n".encode()


def signer(content: bytes, signature: bytes, keys: Iterable[Ed25519PublicKey]) -> str:
    """Return the short name of the key that signed a baseline.

    Parameters
    ----------
    content, signature
        Of the baseline's file and its signature's.
    keys
        Keys that are trusted.

    Raises
    ------
    SignatureError
        The signature is damaged, of other bytes, or of none of the keys.
    """
    named, value = _parse(signature)
    trusted = list(keys)
    for key in trusted:
        try:
            key.verify(value, _signed(content))
        except InvalidSignature:
            continue
        return key_id(key)
    if named in map(key_id, trusted):
        raise SignatureError(
            f"its signature by key {named} is of another file: it was changed after it was "
            "signed, or fitted again; sign it if it is yours, fetch it again if not"
        )
    raise SignatureError(
        f"it was signed with key {named}, which is not trusted here: sign it with a key that is, "
        "or add that key to baseline_public_keys"
    )


def _parse(signature: bytes) -> tuple[str, bytes]:
    try:
        name, named, text = signature.decode("ascii").split()
        value = b64decode(text, validate=True)
        if (
            name != FORMAT
            or len(value) != SIGNATURE_BYTES
            or not re.fullmatch("[0-9a-f]{16}", named)
        ):
            raise ValueError
    except (ValueError, binascii.Error):
        raise SignatureError(
            f"its signature file is not one line of {FORMAT}: sign it again with `latentwatch "
            "baseline sign`"
        ) from None
    return named, value


def _signed(content: bytes) -> bytes:
    return FORMAT.encode() + b"\0" + hashlib.sha256(content).digest()
