"""The folder for what the lab fetches or trains: jars of Kafka, networks of the demo."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return ``LATENTWATCH_CACHE``, or else ``latentwatch`` in the user's folder of caches.

    That folder is ``XDG_CACHE_HOME`` or ``~/.cache`` on Linux; platformdirs knows the others.
    """
    given = os.environ.get("LATENTWATCH_CACHE")
    if given:
        return Path(given).expanduser()
    return platformdirs.user_cache_path("latentwatch", appauthor=False)
