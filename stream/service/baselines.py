"""Finds the baseline of a model version in a folder or object store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Self

import structlog
from fsspec.core import url_to_fs

from latentwatch.detector import ArtefactError, Baseline, DetectorError
from latentwatch.detector.artefact import read
from latentwatch.detector.featuriser import NUMPY, Featuriser
from latentwatch.stream.core.errors import SettingsError, SignatureError
from latentwatch.stream.settings import Settings
from latentwatch.stream.signing.trust import Trust, trust_of

__all__ = ["BaselineStore", "baseline_url", "featuriser_of"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # as in latentwatch.producers.wire

SUFFIX = ".safetensors"

RETRY_SECONDS = 30.0
"""How long a missing or damaged baseline is not looked for again."""


def baseline_url(folder: str, model: str, version: str) -> str:
    """Where the baseline of a model version is: ``<folder>/<model>/<version>.safetensors``.

    Raises
    ------
    SettingsError
        A name that no message could have, and that might lead out of the folder.
    """
    for name in (model, version):
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"{name!r} is not a valid model or version name; use letters, digits, '.', '_' and "
                "'-', and begin with a letter, a digit or '_'"
            )
    return f"{folder.rstrip('/')}/{model}/{version}{SUFFIX}"


class BaselineStore:
    """Loads each baseline once, and looks for missing ones again after a while.

    Parameters
    ----------
    folder : str
        Path or fsspec URL.
    clock : callable
        Seconds, monotonic.
    average_run_length, lanes : float, int
        A baseline that cannot promise it is not used.
    trust : callable of (url, content), optional
        Raises `SignatureError` where a baseline is not to be believed.
    """

    def __init__(
        self,
        folder: str,
        clock: Callable[[], float],
        *,
        average_run_length: float,
        lanes: int = 1,
        trust: Trust | None = None,
    ) -> None:
        self._folder, self._clock = folder, clock
        self._average_run_length, self._lanes = average_run_length, lanes
        self._trust = trust
        self._found: dict[tuple[str, str], Baseline] = {}
        self._missing_until: dict[tuple[str, str], float] = {}
        self._listed: frozenset[tuple[str, str]] = frozenset()
        self._listed_until = float("-inf")
        self._log = structlog.get_logger("latentwatch.baselines")

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], float]) -> Self:
        """The store that the settings describe.

        Raises
        ------
        SettingsError, SignatureError
            The public keys cannot be used.
        """
        return cls(
            settings.baselines,
            clock,
            average_run_length=settings.average_run_length,
            lanes=settings.lanes,
            trust=trust_of(
                settings.baseline_public_keys, required=settings.require_signed_baselines
            ),
        )

    def find(self, model: str, version: str) -> Baseline | None:
        """Return the baseline, or None where there is none that can be used."""
        name = (model, version)
        if name in self._found:
            return self._found[name]
        now = self._clock()
        if now < self._missing_until.get(name, 0.0):
            return None
        url = baseline_url(self._folder, model, version)
        try:
            self._found[name] = self._load(url, name)
        except FileNotFoundError:
            self._log.warning(
                "baseline missing: requests are counted, not judged", url=url, model=model
            )
        except (DetectorError, SignatureError, OSError) as error:
            self._log.error("baseline unusable: requests are counted, not judged", error=str(error))
        if name not in self._found:
            if len(self._missing_until) >= MOST_MISSING:
                self._missing_until.clear()
            self._missing_until[name] = now + RETRY_SECONDS
        return self._found.get(name)

    def is_known(self, model: str, version: str) -> bool:
        """Whether a baseline lies in the folder, by a list that is a while old at most.

        Asking for each name would be slow, where somebody invents a million of them.
        """
        if (now := self._clock()) >= self._listed_until:
            self._listed_until = now + RETRY_SECONDS
            try:
                self._listed = frozenset(_names_in(self._folder))
            except OSError as error:
                self._log.error("the folder of baselines cannot be listed", error=str(error))
        return (model, version) in self._listed

    def _load(self, url: str, name: tuple[str, str]) -> Baseline:
        # checked and parsed are the same bytes: between two reads the file might be exchanged
        content = read(url)
        if self._trust is not None:
            self._trust(url, content)
        baseline = Baseline.parse(content, url)
        if (baseline.model, baseline.version) != name:
            raise ArtefactError(
                f"{url} is the baseline of {baseline.model}/{baseline.version}: it must lie under "
                "that name, or be fitted again for the model whose name it has"
            )
        baseline.threshold(self._average_run_length, self._lanes)
        return baseline


def featuriser_of(device: str) -> Featuriser:
    """Return what executes feature maps, by the setting ``feature_device``.

    Raises
    ------
    SettingsError
        The device is not available.
    """
    if device == "cpu":
        return NUMPY
    # torch takes half a gigabyte of memory, which numpy does without
    from latentwatch.stream.service.accelerated import TorchFeaturiser, chosen_device

    chosen = chosen_device(device)
    return TorchFeaturiser(chosen) if chosen else NUMPY


def _names_in(folder: str) -> Iterator[tuple[str, str]]:
    """Model and version of each ``<model>/<version>.safetensors``."""
    files, root = url_to_fs(folder)
    for path in files.glob(f"{root.rstrip('/')}/*/*{SUFFIX}"):
        model, name = path.split("/")[-2:]
        yield model, name.removesuffix(SUFFIX)


MOST_MISSING = 10_000
"""Names remembered as missing; somebody may invent a million."""
