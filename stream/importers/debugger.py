"""Tensors that were saved by SageMaker Debugger and exported to npz files."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.importers.arrays import classes_of, common_rows, pooled
from latentwatch.stream.importers.events import Event, Float32, NotImportedError, Summary

__all__ = ["Clock", "read_debugger"]

_STEP_OF_ARRAY = re.compile(r"(?P<tensor>.+)/(?P<step>\d+)")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]")

_DAMAGE = (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error)
"""What numpy raises on files that are cut short, changed, or of another kind."""


@dataclass(frozen=True, slots=True)
class Clock:
    """When steps happened, which the files do not contain.

    Parameters
    ----------
    start_ns : int
        Event time of step 0, nanoseconds since 1970, UTC.
    step_ns : int
        Time between two steps.
    """

    start_ns: int
    step_ns: int


@dataclass(frozen=True, slots=True)
class _Stored:
    """An array in a file, not yet read."""

    file: Path
    array: str

    def load(self) -> NDArray[Any]:
        with _opened(self.file) as arrays:
            found: NDArray[Any] = arrays[self.array]
        return found


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """An npz file, closed whatever happens: numpy leaves a damaged one open."""
    with file.open("rb") as content, np.load(content, allow_pickle=False) as arrays:
        yield arrays


Steps = dict[int, dict[str, _Stored]]
"""Arrays by tensor, by step."""


def read_debugger(
    folder: Path,
    summary: Summary,
    *,
    predicted: str,
    clock: Clock,
    include_regex: str = "",
    channels_last: bool = False,
) -> Iterator[Event]:
    """Read the npz files of a folder, one event per step; requests are named ``<step>/<row>``.

    An array is named by its tensor, and its step is the last number in the name of the file; or
    it is named ``<tensor>/<step>``, in a file of any name.

    Parameters
    ----------
    folder : Path
    summary : Summary
    predicted : str
        Tensor of the predicted classes, or of the scores of all classes.
    clock : Clock
    include_regex : str
        Layers are the other tensors in whose names it is found; all by default. In the names of
        the layers, characters that they may not have become ``_``.
    channels_last : bool
        See `arrays.pooled`.

    Raises
    ------
    RecordingError
        No steps, two arrays of one tensor and step, two tensors of one name, or none is wanted.
    """
    steps = _steps(folder, summary)
    layers = _layers(steps, predicted, include_regex, folder)
    for step in sorted(steps):
        place = f"{folder.name}, step {step}"
        try:
            values, classes = _values(steps[step], layers, predicted, channels_last)
        except NotImportedError as error:
            summary.skip(error.reason, place, error.detail)
            continue
        yield Event(
            place=place,
            time_ns=clock.start_ns + step * clock.step_ns,
            event_id=f"step-{step}",
            source="/import/debugger",
            request_ids=tuple(f"{step}/{row}" for row in range(len(classes))),
            layers=values,
            predicted=classes,
        )


def _steps(folder: Path, summary: Summary) -> Steps:
    steps: Steps = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = file.relative_to(folder).as_posix()
        if file.suffix != ".npz":
            summary.skip("other file", name, "only .npz is read")
            continue
        for array in _names(file, name, summary):
            tensor, step = _tensor_and_step(file, array)
            if step is None:
                detail = f"array {array}: neither the file's name nor the array's has a number"
                summary.skip("no step", name, detail)
            elif tensor in steps.setdefault(step, {}):
                other = steps[step][tensor].file.name
                raise RecordingError(
                    f"{name} and {other} both have tensor {tensor} of step {step}: export the "
                    "steps of one mode, each once"
                )
            else:
                steps[step][tensor] = _Stored(file, array)
    if not steps:
        raise RecordingError(
            f"{folder} holds no tensors by step; export them as docs/import.md shows "
            f"({summary.reasons() or 'the folder is empty'})"
        )
    return steps


def _names(file: Path, name: str, summary: Summary) -> list[str]:
    try:
        with _opened(file) as arrays:
            return list(arrays.files)
    except _DAMAGE:
        summary.skip("damaged file", name, "not an npz file, or cut short; export it again")
        return []


def _tensor_and_step(file: Path, array: str) -> tuple[str, int | None]:
    if (found := _STEP_OF_ARRAY.fullmatch(array)) is not None:
        return found["tensor"], int(found["step"])
    numbers = re.findall(r"\d+", file.stem)
    return array, int(numbers[-1]) if numbers else None


def _layers(steps: Steps, predicted: str, regex: str, folder: Path) -> dict[str, str]:
    """Tensors that are layers, in the order in which they are stored, by the layers' names."""
    tensors = dict.fromkeys(tensor for step in steps.values() for tensor in step)
    wanted = [name for name in tensors if name != predicted and re.search(regex, name)]
    if predicted not in tensors or not wanted:
        lacks = f"tensor {predicted}" if predicted not in tensors else f"one that matches {regex!r}"
        raise RecordingError(f"{folder} has no {lacks}, but {', '.join(tensors)}: choose of these")
    layers: dict[str, str] = {}
    for tensor in wanted:
        name = _FORBIDDEN.sub("_", tensor)
        if name in layers:
            raise RecordingError(
                f"tensors {layers[name]} and {tensor} of {folder} would both be layer {name}: "
                "leave one out with --include-regex"
            )
        layers[name] = tensor
    return layers


def _values(
    step: dict[str, _Stored], layers: dict[str, str], predicted: str, channels_last: bool
) -> tuple[dict[str, Float32], NDArray[np.int64]]:
    missing = [tensor for tensor in (*layers.values(), predicted) if tensor not in step]
    if missing:
        raise NotImportedError("tensor missing", f"{missing[0]} was not saved at this step")
    try:
        arrays = {tensor: step[tensor].load() for tensor in (*layers.values(), predicted)}
    except _DAMAGE as error:
        raise NotImportedError("damaged file", f"{str(error)[:80]}; export it again") from None
    values = {
        name: pooled(arrays[tensor], tensor, channels_last=channels_last)
        for name, tensor in layers.items()
    }
    count = common_rows(values)
    return values, classes_of(arrays[predicted], count, predicted)
