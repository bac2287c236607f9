"""Keeps trained networks in a cache folder, under a hash of their training settings.

The file ``network.json`` in an output folder names the network that was prepared for it.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson
import torch
from rich.progress import Progress

from latentwatch.lab.signs.errors import NetworkError
from latentwatch.lab.signs.network import SignNetwork
from latentwatch.lab.signs.templates import CLASS_NAMES
from latentwatch.lab.signs.training import TrainingSettings, fresh_network, train

FILE_NAME = "network.json"


def checkpoint_path(settings: TrainingSettings, cache: Path) -> Path:
    """Return where the network trained with these settings is kept."""
    return cache / f"signs-{settings.key}.pt"


def load_or_train(
    settings: TrainingSettings, cache: Path, progress: Progress
) -> tuple[SignNetwork, bool]:
    """Return the network for these settings, which is trained if the cache lacks it.

    Parameters
    ----------
    settings
        What to train with.
    cache
        Folder of checkpoints, created if missing.
    progress
        Shows drawing and training.

    Returns
    -------
    model : SignNetwork
        In evaluation mode.
    trained : bool
        Whether it was trained now.

    Raises
    ------
    NetworkError
        The checkpoint in the cache is damaged.
    """
    if checkpoint_path(settings, cache).exists():
        return load(settings, cache), False
    model = train(settings, progress)
    _save(model, checkpoint_path(settings, cache))
    return model, True


def load(settings: TrainingSettings, cache: Path) -> SignNetwork:
    """Return the network for these settings from the cache, in evaluation mode.

    Raises
    ------
    NetworkError
        The cache has no checkpoint for these settings, or it is damaged.
    """
    file = checkpoint_path(settings, cache)
    model = fresh_network(settings.seed)
    try:
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise NetworkError(f"no network in {file}: run the prepare command first") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, TypeError) as error:
        raise NetworkError(f"{file} is not a network: delete it and prepare again") from error
    return model.eval()


def _save(model: SignNetwork, file: Path) -> None:
    """Write a checkpoint so that no reader ever sees half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    torch.save(model.state_dict(), unfinished)
    unfinished.replace(file)


@dataclass(frozen=True)
class Manifest:
    """The network that was prepared, and its accuracy.

    Parameters
    ----------
    settings
        Training settings; the cache keeps the network under their hash.
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
