"""Rows for a baseline, from arrays of the validation phase or from a recording."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import click

__all__ = ["Part", "Source", "load_npz", "open_source", "read_arrays"]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows that are wanted: which model version, which time, which layers.

    Parameters
    ----------
    model, version : str, optional
    since_ns, until_ns : int, optional
        Event times at or after the first and before the second; nanoseconds since 1970, UTC.
    layers : tuple of str
        Empty for all layers, in the order of the source.
    """

    model: str | None = None
    version: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Source:
    """Rows to fit on.

    Parameters
    ----------
    model, version : str
    activations : dict of layer name to array [N, d]
    predicted : int array [N]
    event_time_ns : int64 [N], optional
        Only recordings have times.
    request_ids : list of str, optional
    """

    model: str
    version: str
    activations: dict[str, Any]
    predicted: Any
    event_time_ns: Any = None
    request_ids: list[str] | None = None

    def take(self, rows: Any) -> Source:
        """Select rows by number."""
        return replace(
            self,
            activations={name: array[rows] for name, array in self.activations.items()},
            predicted=self.predicted[rows],
            event_time_ns=None if self.event_time_ns is None else self.event_time_ns[rows],
            request_ids=self.request_ids and [self.request_ids[row] for row in rows],
        )

    def name_of(self, row: int) -> str:
        """Name of a row in messages: its request id, or its number from 0."""
        return self.request_ids[row] if self.request_ids else f"row {row}"


def open_source(source: str, part: Part) -> Source:
    """Read an npz file, or a recording in a folder or at a URL.

    Raises
    ------
    click.UsageError
        The source is an npz file, and model or version is missing or a time is given.
    click.ClickException, RecordingError
        The source has no such rows or layers.
    """
    return _npz(Path(source), part) if Path(source).is_file() else _recording(source, part)


def _npz(path: Path, part: Part) -> Source:
    if part.model is None or part.version is None:
        raise click.UsageError(f"{path} does not name its model: give --model and --model-version")
    if part.since_ns is not None or part.until_ns is not None:
        raise click.UsageError(
            f"{path} has no times: use --since and --until only with a recording"
        )
    return Source(part.model, part.version, *read_arrays(path, part.layers))


def _recording(url: str, part: Part) -> Source:
    from latentwatch.stream.recording import Recording

    recording = Recording(url).select(
        model=part.model, version=part.version, since_ns=part.since_ns, until_ns=part.until_ns
    )
    model, version = recording.only_model()
    known = recording.layers()
    if unknown := [name for name in part.layers if name not in known]:
        raise click.ClickException(
            f"{url} lacks {', '.join(unknown)} in some file: choose among the layers of all files, "
            f"{', '.join(known) or 'none'}"
        )
    predicted = recording.predicted()
    if not len(predicted):
        raise click.ClickException(
            f"{url} has no request of {model}/{version} between --since and --until: widen them"
        )
    return Source(
        model,
        version,
        {name: recording.array(name) for name in part.layers or known},
        predicted,
        recording.event_time_ns(),
        recording.requests()["request_id"].to_pylist(),
    )


def load_npz(path: Path) -> dict[str, Any]:
    """All arrays of an npz file."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, AttributeError, BadZipFile) as error:
        raise click.ClickException(
            f"{path} is not an npz file of plain arrays: write one with numpy.savez"
        ) from error


def read_arrays(path: Path, layers: tuple[str, ...]) -> tuple[dict[str, Any], Any]:
    """Activations by layer and predictions, from ``[baseline.]<layer>`` arrays of an npz file."""
    arrays = {
        name.removeprefix("baseline."): array
        for name, array in load_npz(path).items()
        if name.startswith("baseline.") or "." not in name
    }
    predicted = arrays.pop("predicted", None)
    missing = [name for name in layers if name not in arrays]
    if predicted is None or missing or not arrays:
        wanted = ", ".join(missing) or "predicted and one array [N, d] per layer"
        raise click.ClickException(
            f"{path} lacks {wanted}; it has {', '.join(arrays) or 'no arrays'}"
        )
    return {name: arrays[name] for name in layers or arrays}, predicted
