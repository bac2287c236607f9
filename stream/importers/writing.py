"""From events to a recording: in the order of time, checked as the wire format is checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.artefact import filesystem_of
from latentwatch.producers.wire import ActivationBatch, EncodeError, Limits, encode
from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.times import timestamp
from latentwatch.stream.importers.events import Event, Summary
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.rows import RecordedMessage
from latentwatch.stream.recording.writer import RecordingWriter

__all__ = ["check_target", "write_recording"]

MOST_BYTES = 8 * 2**20
"""Activations of one message at most: half of what the wire format allows."""

FLUSH_BYTES = 64 * 2**20

Rows = NDArray[np.int64]


def check_target(url: str, *, force: bool) -> None:
    """Refuse a folder with a recording, because offsets start at 0 again.

    Raises
    ------
    RecordingError
    """
    if not force and RecordingFiles(url).places():
        raise RecordingError(
            f"{url} holds a recording already: import into another folder, or replace that "
            "recording with --force"
        )


def write_recording(
    events: Iterable[Event],
    url: str,
    *,
    model: str,
    version: str,
    force: bool = False,
    summary: Summary | None = None,
) -> Summary:
    """Write events as messages of partition 0, sorted by time, with offsets from 0 on.

    Everything is read before the first file is written or, with `force`, removed.

    Parameters
    ----------
    events : iterable of Event
        In any order; those of one time keep theirs.
    url : str
        Folder of the recording, a path or fsspec URL.
    model, version : str
    force : bool
        Replace a recording that is there; other files are left alone.
    summary : Summary, optional
        Where the reader counts what it leaves out.

    Raises
    ------
    RecordingError
        Nothing can be imported, or a recording is there.
    """
    check_target(url, force=force)
    summary = summary if summary is not None else Summary()
    ordered = sorted(events, key=lambda event: event.time_ns)
    if ordered:
        _check_names(ordered[0].layers, model, version)
    batches = list(_batches(ordered, model, version, summary))
    if not batches:
        raise RecordingError(
            f"nothing was imported into {url}: {summary.reasons() or 'there is nothing to read'}"
        )
    _remove_recording(url)
    writer = RecordingWriter(RecordingFiles(url), most_bytes=FLUSH_BYTES, most_seconds=np.inf)
    for offset, batch in enumerate(batches):
        writer.add(RecordedMessage(0, offset, batch), now=0.0)
        summary.messages += 1
        summary.rows += len(batch)
    writer.flush_all()
    return summary


def _remove_recording(url: str) -> None:
    """Remove the files of a recording, and nothing else that lies in the folder."""
    filesystem, root = filesystem_of(url)
    for place in RecordingFiles(url).places():
        filesystem.rm_file(f"{root.rstrip('/')}/{place.path}")


def _batches(
    events: list[Event], model: str, version: str, summary: Summary
) -> Iterator[ActivationBatch]:
    seen: set[str] = set()
    widths: dict[str, int] = {}
    for event in events:
        if not _fits(event, widths, summary):
            continue
        rows = _sound_rows(event, seen, summary)
        for part in _parts(event, rows):
            batch = _batch(event, part, model, version)
            if _passes(batch, event, summary):
                # only rows that are imported take an id, or set the widths, away from later ones
                seen.update(batch.request_ids)
                widths = widths or {name: v.shape[1] for name, v in event.layers.items()}
                yield batch


def _fits(event: Event, widths: dict[str, int], summary: Summary) -> bool:
    own = {name: values.shape[1] for name, values in event.layers.items()}
    if widths and own != widths:
        layers = ", ".join(f"{name} ({width})" for name, width in own.items())
        detail = f"{layers} where the first requests have {widths}: another version of the model?"
        summary.skip("other layers", event.place, detail, len(event.request_ids))
        return False
    return True


def _sound_rows(event: Event, seen: set[str], summary: Summary) -> Rows:
    """Rows that are finite, of a class, and new; the others are counted."""
    finite = np.all([np.isfinite(values).all(axis=1) for values in event.layers.values()], axis=0)
    if not finite.all():
        detail = "NaN, infinity, null, or beyond float32: such requests cannot be judged"
        summary.skip("not finite", event.place, detail, int((~finite).sum()))
    known = event.predicted >= 0
    if (finite & ~known).any():
        detail = "classes count from 0"
        summary.skip("negative class", event.place, detail, int((finite & ~known).sum()))
    rows: list[int] = []
    own: set[str] = set()
    for row in np.flatnonzero(finite & known).tolist():
        name = event.request_ids[row]
        if name in own or name in seen:
            summary.skip("double id", event.place, f"{name[:60]} came before, and counts once")
            continue
        own.add(name)
        rows.append(row)
    return np.array(rows, dtype=np.int64)


def _parts(event: Event, rows: Rows) -> list[Rows]:
    """Rows in messages of a size that the wire format allows."""
    row_bytes = sum(values[:1].nbytes for values in event.layers.values())
    most = max(1, min(Limits().rows, MOST_BYTES // max(row_bytes, 1)))
    return [rows[at : at + most] for at in range(0, len(rows), most)]


def _batch(event: Event, rows: Rows, model: str, version: str) -> ActivationBatch:
    first = int(rows[0])
    return ActivationBatch(
        model=model,
        version=version,
        activations={name: values[rows] for name, values in event.layers.items()},
        predicted=event.predicted[rows].astype(np.int32),
        event_time_ns=np.full(len(rows), event.time_ns, dtype=np.int64),
        request_ids=[event.request_ids[row] for row in rows],
        input_refs=[event.input_ref] * len(rows) if event.input_ref else None,
        source=event.source,
        event_id=event.event_id if first == 0 else f"{event.event_id}/{first}",
        time=timestamp(event.time_ns),
    )


def _passes(batch: ActivationBatch, event: Event, summary: Summary) -> bool:
    """Whether the wire format takes it."""
    try:
        encode(batch)
    except EncodeError as error:
        summary.skip("refused by the wire format", event.place, str(error), len(batch))
        return False
    return True


def _check_names(layers: Iterable[str], model: str, version: str) -> None:
    """Raise where no request can pass, whatever it holds: for a name, or too many layers."""
    one = np.zeros((1, 1), dtype=np.float32)
    request = ActivationBatch(
        model=model,
        version=version,
        activations=dict.fromkeys(layers, one),
        predicted=np.zeros(1, dtype=np.int32),
        event_time_ns=np.array([Limits().earliest_ns], dtype=np.int64),
        request_ids=["request"],
        source="/import",
    )
    try:
        encode(request)
    except EncodeError as error:
        raise RecordingError(f"nothing can be imported under these names: {error}") from None
