"""The baseline artefact: one safetensors file with JSON metadata, checked by its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from latentwatch.detector.agreement import Agreement, ClassDistances
from latentwatch.detector.calibration import Calibration, RunLengths
from latentwatch.detector.errors import ArtefactError
from latentwatch.detector.features import FeatureMap
from latentwatch.detector.null import NullModel, Typicality
from latentwatch.detector.parts import BaselineParts
from latentwatch.detector.queries import QueryReference
from latentwatch.detector.rows import Layout
from latentwatch.detector.view import View

FORMAT = "latentwatch-baseline/5"

Tensors = dict[str, NDArray[Any]]
Metadata = dict[str, Any]

_MAP_ARRAYS = ("columns", "mean", "scale", "weight", "frequencies", "whitening", "centres")
_DISTANCE_ARRAYS = ("columns", "mean", "scale", "whitening", "centres")
_NULL_ARRAYS = (
    "counts",
    "pair_factors",
    "pair_own",
    "pair_third",
    "triangle",
    "tails",
)
_STORED_NULL_NAMES = {
    "distance_mean": "energy_mean",
    "distance_variance": "energy_variance",
    "distance_third": "energy_third",
}
"""Arrays of `NullModel` with older names in the file than in the code."""
_TYPICALITY_ARRAYS = ("centre", "spread", "reference")
_QUERY_ARRAYS = ("columns", "mean", "scale", "projection", "rows")


def digest(parts: BaselineParts) -> str:
    """SHA-256 of the settings and arrays of a baseline, in a canonical order."""
    return _digest(*_contents(parts))


def filesystem_of(url: str) -> tuple[Any, str]:
    """Fsspec's file system and path of a path or URL.

    Raises
    ------
    ArtefactError
        fsspec, or the package of the URL's protocol, is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise ArtefactError(
            f"{url} cannot be opened without fsspec: run `pip install fsspec`, and install the "
            "package of the URL's protocol (s3fs for s3://), or give the path of a local file"
        ) from error
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ArtefactError(
            f"{url} cannot be opened ({error}): give a path, or a URL whose protocol fsspec knows "
            "and whose package is installed"
        ) from error
    return filesystem, str(path)


def save(parts: BaselineParts, url: str) -> str:
    """Write the artefact to a path or fsspec URL; return the SHA-256 stored in it.

    The file appears when it is complete: a reader never sees half of it.
    """
    described, tensors = _contents(parts)
    sha256 = _digest(described, tensors)
    content = save_tensors(
        tensors,
        metadata={
            "format": FORMAT,
            "sha256": sha256,
            "baseline": described.decode(),
        },
    )
    if _is_url(url):
        filesystem, path = filesystem_of(url)
        filesystem.makedirs(filesystem._parent(path), exist_ok=True)
        filesystem.pipe_file(f"{path}.part", content)
        filesystem.mv(f"{path}.part", path)
        return sha256
    file = Path(url).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.part")
    partial.write_bytes(content)
    partial.replace(file)
    return sha256


def read(url: str) -> bytes:
    """The bytes at a path or fsspec URL."""
    if not _is_url(url):
        return Path(url).expanduser().read_bytes()
    filesystem, path = filesystem_of(url)
    content: bytes = filesystem.cat_file(path)
    return content


def parse(content: bytes, url: str, *, sha256: str | None = None) -> BaselineParts:
    """The baseline in these bytes; `url` is where they come from, for error texts.

    Bytes whose signature was verified are parsed without a second read, which could give others.
    """
    try:
        stored = _stored_metadata(content)
        described, tensors = stored["baseline"].encode(), load_tensors(content)
        metadata, actual = orjson.loads(described), _digest(described, tensors)
    except (ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise ArtefactError(
            f"{url} is not a latentwatch baseline ({error}); write one with "
            "'latentwatch baseline fit'"
        ) from error
    if stored.get("format") != FORMAT:
        raise ArtefactError(
            f"{url} has format {stored.get('format')!r}, this version reads {FORMAT!r}; "
            "fit the baseline again with the version that runs the worker"
        )
    if actual != stored.get("sha256") or (sha256 is not None and actual != sha256):
        raise ArtefactError(
            f"{url} has SHA-256 {actual}, not {sha256 or stored.get('sha256')}: it was changed "
            "after it was written; fetch it again from where it was fitted"
        )
    try:
        return replace(_rebuild(metadata, tensors), sha256=actual)
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{url} lacks a part ({error}); fit the baseline again") from error


def _is_url(url: str) -> bool:
    """Whether a path needs fsspec; plain paths do not."""
    return "://" in url


def _stored_metadata(content: bytes) -> Mapping[str, str]:
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= len(content) - 8:
        raise ValueError("no safetensors header")
    metadata: Mapping[str, str] = orjson.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


def _digest(described: bytes, tensors: Tensors) -> str:
    state = hashlib.sha256(described)
    for name in sorted(tensors):
        array = tensors[name]
        state.update(f"{name} {array.dtype.str} {array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def _contents(parts: BaselineParts) -> tuple[bytes, Tensors]:
    """Settings and numbers as canonical JSON, and the arrays."""
    run_lengths = parts.calibration.run_lengths
    metadata: Metadata = {
        "model": parts.model,
        "version": parts.version,
        "seed": parts.seed,
        "layers": list(parts.layout.names),
        "widths": list(parts.layout.widths),
        "longest_window": parts.longest_window,
        "fitted_rows": parts.fitted_rows,
        "run_requests": run_lengths.requests,
        "views": [_view_numbers(view) for view in parts.views],
    }
    tensors: Tensors = {
        "kept": parts.layout.kept,
        "group_of_class": parts.group_of_class,
        "run_maxima": run_lengths.maxima,
        "agreement.centre": parts.agreement.centre,
        "agreement.spread": parts.agreement.spread,
    }
    for index, distances in enumerate(parts.agreement.layers):
        for name in _DISTANCE_ARRAYS:
            tensors[f"layer{index}.{name}"] = np.ascontiguousarray(getattr(distances, name))
    for name in _QUERY_ARRAYS:
        tensors[f"queries.{name}"] = np.ascontiguousarray(getattr(parts.queries, name))
    for rows, scores in parts.calibration.window_scores.items():
        tensors[f"window_scores.{rows}"] = scores
    for rows, scores in parts.calibration.reference_scores.items():
        tensors[f"reference_scores.{rows}"] = scores
    for index, view in enumerate(parts.views):
        for owner, names in _arrays_of(view):
            for name in names:
                stored = _STORED_NULL_NAMES.get(name, name)
                tensors[f"view{index}.{stored}"] = np.ascontiguousarray(getattr(owner, name))
    return orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS), tensors


def _arrays_of(view: View) -> list[tuple[object, tuple[str, ...]]]:
    return [
        (view.map, _MAP_ARRAYS),
        (view.null, (*_NULL_ARRAYS, *_STORED_NULL_NAMES)),
        (view.null.typicality, _TYPICALITY_ARRAYS),
    ]


def _view_numbers(view: View) -> Metadata:
    return {"name": view.name, "radius": view.map.radius}


def _rebuild(metadata: Metadata, tensors: Tensors) -> BaselineParts:
    return BaselineParts(
        model=metadata["model"],
        version=metadata["version"],
        seed=metadata["seed"],
        layout=Layout(tuple(metadata["layers"]), tuple(metadata["widths"]), tensors["kept"]),
        group_of_class=tensors["group_of_class"],
        agreement=_rebuild_agreement(len(metadata["layers"]), tensors),
        views=_rebuild_views(metadata["views"], tensors),
        queries=QueryReference(**{name: tensors[f"queries.{name}"] for name in _QUERY_ARRAYS}),
        calibration=Calibration(
            _by_rows(tensors, "window_scores."),
            RunLengths(tensors["run_maxima"], metadata["run_requests"]),
            _by_rows(tensors, "reference_scores."),
        ),
        longest_window=metadata["longest_window"],
        fitted_rows=metadata["fitted_rows"],
    )


def _by_rows(tensors: Tensors, prefix: str) -> dict[int, NDArray[Any]]:
    """Arrays by the number of rows in which their names end."""
    return {
        int(name.removeprefix(prefix)): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _rebuild_agreement(layers: int, tensors: Tensors) -> Agreement:
    distances = [
        ClassDistances(**{name: tensors[f"layer{index}.{name}"] for name in _DISTANCE_ARRAYS})
        for index in range(layers)
    ]
    return Agreement(tuple(distances), tensors["agreement.centre"], tensors["agreement.spread"])


def _rebuild_views(numbers: list[Metadata], tensors: Tensors) -> tuple[View, ...]:
    views: list[View] = []
    start = 0
    for index, own in enumerate(numbers):

        def arrays(names: tuple[str, ...], prefix: str = f"view{index}") -> Tensors:
            return {
                name: tensors[f"{prefix}.{_STORED_NULL_NAMES.get(name, name)}"] for name in names
            }

        feature_map = FeatureMap(**arrays(_MAP_ARRAYS), radius=own["radius"])
        null = NullModel(
            **arrays((*_NULL_ARRAYS, *_STORED_NULL_NAMES)),
            typicality=Typicality(**arrays(_TYPICALITY_ARRAYS)),
        )
        end = start + feature_map.rank
        views.append(View(own["name"], feature_map, null, slice(start, end)))
        start = end
    return tuple(views)
