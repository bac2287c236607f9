"""Pictures that input references point to; the references come from untrusted producers.

By default only files below one folder that the operator names are read; symbolic links and ``..``
cannot lead out of it. If fetching is allowed, references with a few known schemes are followed, but
chained URLs are not, and every read has a small size limit.
"""

from __future__ import annotations

import urllib.request
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

__all__ = ["InputPictures"]

MOST_BYTES = 2_000_000
"""Larger pictures are left out, because the report embeds its pictures."""

MOST_PICTURES = 12

TIMEOUT_SECONDS = 10.0

_WEB = ("http", "https")

STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
"""Object stores that are read through fsspec."""


@dataclass(slots=True)
class InputPictures:
    """Reads the pictures of references, with limits.

    Parameters
    ----------
    folder : Path or None
        Local files below it may be read; relative references are resolved against it.
    fetch : bool
        Follow references to web servers and object stores.
    """

    folder: Path | None = None
    fetch: bool = False

    def read(self, references: Iterable[str | None]) -> list[str | None]:
        """A ``data:`` URI for each reference with a readable picture, up to `MOST_PICTURES`."""
        found: list[str | None] = []
        left = MOST_PICTURES
        for reference in references:
            picture = self._picture(reference) if reference and left else None
            left -= picture is not None
            found.append(picture)
        return found

    def _picture(self, reference: str) -> str | None:
        found = self.open(reference)
        return f"data:{found[0]};base64,{b64encode(found[1]).decode()}" if found else None

    def open(self, reference: str) -> tuple[str, bytes] | None:
        """Media type and bytes of one picture; None if it cannot or must not be read."""
        try:
            content = self._content(reference)
        except Exception:
            # references and stores may fail in any way: the report then lacks the picture
            return None
        kind = media_type(content)
        if kind is None or len(content) > MOST_BYTES:
            return None
        return kind, content

    def _content(self, reference: str) -> bytes:
        """At most one byte more than `MOST_BYTES`; nothing if it must not be read."""
        if "::" in reference:
            return b""
        parts = urlsplit(reference)
        if parts.scheme == "file":
            return self._local(unquote(parts.path))
        if parts.scheme not in (*_WEB, *STORES):
            # a path, or the service's own naming scheme: treated as a path below the folder
            return self._local(reference)
        if not self.fetch:
            return b""
        if parts.scheme in _WEB:
            with urllib.request.urlopen(reference, timeout=TIMEOUT_SECONDS) as response:
                return bytes(response.read(MOST_BYTES + 1))
        opened: Any = fsspec.open(reference, "rb")
        with opened as file:
            return bytes(file.read(MOST_BYTES + 1))

    def _local(self, path: str) -> bytes:
        if self.folder is None:
            return b""
        root = self.folder.resolve()
        place = (root / path).resolve()
        if not place.is_relative_to(root) or not place.is_file():
            return b""
        with place.open("rb") as file:
            return file.read(MOST_BYTES + 1)


def media_type(content: bytes) -> str | None:
    """PNG, JPEG or WebP by their first bytes; None for anything else, SVG with scripts included."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return None
