"""Parses the URLs of targets."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from latentwatch.stream.notify.targets import (
    AlertmanagerTarget,
    AppriseTarget,
    NotifyError,
    Target,
    WebhookTarget,
)

__all__ = ["parse_target", "parse_targets", "targets_in_file"]

_NAMED = re.compile(r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63})=)?(?P<url>[a-z0-9+]+://.+)")

SHORTEST_SECRET = 16


def parse_targets(
    texts: Iterable[str], *, resend_seconds: float = 60.0, environ: Mapping[str, str] = os.environ
) -> list[Target]:
    """Targets for several URLs.

    Raises
    ------
    NotifyError
        If a URL is malformed, or two targets have the same name. No message repeats a URL.
    """
    targets: dict[str, Target] = {}
    for text in texts:
        target = parse_target(text, resend_seconds=resend_seconds, environ=environ)
        if target.name in targets:
            raise NotifyError(
                f"two targets have the name {target.name!r}: name each, as in NAME=URL"
            )
        targets[target.name] = target
    return list(targets.values())


def parse_target(
    text: str, *, resend_seconds: float = 60.0, environ: Mapping[str, str] = os.environ
) -> Target:
    """The target for a URL, or for NAME=URL.

    Examples
    --------
    >>> parse_target("alertmanager+http://localhost:9093").name
    'alertmanager-0d5bbcce'
    >>> parse_target("on-call=alertmanager+http://localhost:9093")
    AlertmanagerTarget('on-call')
    """
    found = _NAMED.fullmatch(text.strip())
    if found is None:
        raise NotifyError(
            "a target is not a URL: write for example alertmanager+http://localhost:9093, "
            "webhook+https://host/path#env:SECRET or slack://..., with or without NAME= before it"
        )
    url = found["url"]
    name = found["name"] or _name(url)
    kind, _, address = url.partition("+")
    if kind == "alertmanager":
        return AlertmanagerTarget(name, _http(name, address), resend_seconds=resend_seconds)
    if kind == "webhook":
        address, secret = urldefrag(address)
        return WebhookTarget(name, _http(name, address), _secret(name, secret, environ))
    return AppriseTarget(name, url)


def targets_in_file(path: Path) -> list[str]:
    """Lines of a file of targets, without empty lines and comments (#).

    Raises
    ------
    NotifyError
        If the file cannot be read.
    """
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise NotifyError(
            f"{path} cannot be read ({error}): it must have one target per line"
        ) from error
    return [line for line in lines if line and not line.startswith("#")]


def _name(url: str) -> str:
    """A stable name; scrypt makes guessing passwords from it slow."""
    kind = re.split(r"[+:]", url)[0]
    digest = hashlib.scrypt(url.encode(), salt=b"latentwatch notify", n=2**14, r=8, p=1, dklen=4)
    return f"{kind}-{digest.hex()}"


def _http(name: str, address: str) -> str:
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname)
        sound = sound and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise NotifyError(
            f"target {name!r}: the part after + must be http:// or https:// and a host, as in "
            "alertmanager+http://localhost:9093"
        )
    return address


def _secret(name: str, place: str, environ: Mapping[str, str]) -> bytes:
    """The secret of a webhook, from the place that the URL's fragment names."""
    kind, _, where = place.partition(":")
    if kind == "env" and where:
        secret = environ.get(where, "").encode()
    elif kind == "file" and where:
        secret = _secret_file(name, Path(where))
    else:
        raise NotifyError(
            f"target {name!r}: a webhook needs a signing secret; add #env:VARIABLE or #file:/path "
            "to the end of the URL"
        )
    if len(secret) < SHORTEST_SECRET:
        raise NotifyError(
            f"target {name!r}: the secret in {place} is missing or shorter than "
            f"{SHORTEST_SECRET} bytes; generate one with `openssl rand -hex 32`"
        )
    return secret


def _secret_file(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise NotifyError(
            f"target {name!r}: {path} cannot be read ({error.strerror}): put the secret there"
        ) from error
