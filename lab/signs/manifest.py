"""The file ``network.json`` that ``prepare`` writes for the commands that follow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from latentwatch.lab.signs.errors import NetworkError
from latentwatch.lab.signs.templates import CLASS_NAMES
from latentwatch.lab.signs.training import TrainingSettings

FILE_NAME = "network.json"


@dataclass(frozen=True)
class Manifest:
    """Which network was prepared, and how good it is.

    Parameters
    ----------
    settings
        What it was trained with; the cache keeps it under their hash.
    accuracy
        Share of fresh drawings that it recognises, 0 to 1.
    """

    settings: TrainingSettings
    accuracy: float

    def write(self, folder: Path) -> None:
        """Write ``network.json``."""
        content = {
            "settings": asdict(self.settings),
            "accuracy": self.accuracy,
            "classes": CLASS_NAMES,
        }
        text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (folder / FILE_NAME).write_bytes(text)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``network.json``.

        Raises
        ------
        NetworkError
            The file is absent or holds something else.
        """
        try:
            content: dict[str, Any] = orjson.loads((folder / FILE_NAME).read_bytes())
            return cls(TrainingSettings(**content["settings"]), float(content["accuracy"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise NetworkError(
                f"{folder / FILE_NAME} does not say which network was prepared: run the prepare "
                "command with the same output folder first"
            ) from error
