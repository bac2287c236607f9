"""The files of a recording, local or at an fsspec URL: each is written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from latentwatch.detector.artefact import filesystem_of
from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.recording.layout import CLIENT, COLUMNS, FilePlace, read_metadata

__all__ = ["RecordingFiles"]

UNFINISHED = ".unfinished"
"""Suffix of a file that is being written."""

_REPEATED = ["event_id", "source", "time", "traceparent", "shard"]
"""Columns of few values: stored as dictionaries."""

_FORMAT: dict[str, Any] = {
    # level 3 takes longer, and saves less than one per cent of real activations
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": _REPEATED,
    # statistics of activations are useless, and take as long as compressing them
    "write_statistics": [column.name for column in COLUMNS],
    # so that a damaged value is an error, not another value
    "write_page_checksum": True,
    "store_schema": True,
}


class RecordingFiles:
    """The folder of a recording.

    Parameters
    ----------
    url : str
        Path or fsspec URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._filesystem, root = filesystem_of(url)
        self._root = root.rstrip("/") + "/"

    @cached_property
    def _is_local(self) -> bool:
        protocol = self._filesystem.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def places(self) -> list[FilePlace]:
        """Every file of the recording, by flush; other files and folders are ignored."""
        parsed = [FilePlace.parse(path.removeprefix(self._root)) for path in self._paths()]
        places = [place for place in parsed if place is not None]
        return sorted(places, key=lambda place: (place.flush, place.path))

    def open_table(self, place: FilePlace, columns: list[str] | None = None) -> pa.Table:
        """Read a file, or some of its columns.

        Raises
        ------
        RecordingError
            The file is damaged, or not part of a recording.
        """
        with self._parquet(place) as parquet:
            table = parquet.read(columns)
        if CLIENT in table.column_names or (columns is not None and CLIENT not in columns):
            return table
        nobody = pa.nulls(len(table), pa.string())
        return table.add_column(table.column_names.index("input_ref") + 1, CLIENT, nobody)

    def schema(self, place: FilePlace) -> pa.Schema:
        """Schema of a file; `RecordingError` if it is not part of a recording."""
        with self._parquet(place) as parquet:
            return parquet.schema_arrow

    def rows(self, place: FilePlace) -> int:
        """Rows of a file, from its footer."""
        with self._parquet(place) as parquet:
            return int(parquet.metadata.num_rows)

    @contextmanager
    def _parquet(self, place: FilePlace) -> Iterator[pq.ParquetFile]:
        """Open a file; any problem with it becomes a `RecordingError`."""
        try:
            with self._filesystem.open(self._path(place.path), "rb") as source:
                parquet = pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True)
                read_metadata(parquet.schema_arrow, self.name(place))
                yield parquet
        except (pa.ArrowException, OSError) as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            raise RecordingError(
                f"{self.name(place)} cannot be read ({reason}): it is damaged or was cut short; "
                "copy it again from its source, or delete it and record that part again"
            ) from error

    def name(self, place: FilePlace) -> str:
        """Where a file is, for messages."""
        return f"{self.url}/{place.path}"

    def write(self, place: FilePlace, table: pa.Table) -> int:
        """Write a file, which appears when it is complete; return its bytes."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **_FORMAT)
        content = sink.getvalue()
        path = self._path(place.path)
        self._filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        if self._is_local:
            _write_whole(path, content)
        else:
            # object stores show an object when it is whole
            self._filesystem.pipe_file(path, content.to_pybytes())
        return int(content.size)

    def recover(self, partitions: Collection[int] | None = None) -> dict[int, int]:
        """Remove what a killed recorder left unfinished; return the next offset by partition.

        A flush is complete if the last file that its files list exists, because they are written in
        that order; earlier ones may have been deleted with their hours. Only the latest flush of a
        partition can be incomplete: a recorder finishes one before it begins the next.

        Parameters
        ----------
        partitions : collection of int, optional
            The recorder's own partitions; all by default. Files of other recorders stay untouched.

        Raises
        ------
        RecordingError
            A file of a latest flush is damaged, or not part of a recording.
        """
        self._remove_unfinished(partitions)
        newest: dict[int, list[FilePlace]] = {}
        for flush, files in groupby(self.places(), key=lambda place: place.flush):
            if partitions is None or flush.partition in partitions:
                newest[flush.partition] = list(files)
        return {partition: self._end(files) for partition, files in newest.items()}

    def _end(self, files: list[FilePlace]) -> int:
        flush = files[0].flush
        listed = read_metadata(self.schema(files[0]), self.name(files[0]))["flush"]
        if listed[-1] in {place.path for place in files}:
            return flush.next
        for place in files:
            self._filesystem.rm_file(self._path(place.path))
        return flush.first

    def _remove_unfinished(self, partitions: Collection[int] | None) -> None:
        for path in self._paths():
            if not path.endswith(UNFINISHED):
                continue
            place = FilePlace.parse(path.removeprefix(self._root).removesuffix(UNFINISHED))
            if place and (partitions is None or place.flush.partition in partitions):
                self._filesystem.rm_file(path)

    def _paths(self) -> list[str]:
        self._filesystem.invalidate_cache()
        found = self._filesystem.find(self._root) if self._filesystem.exists(self._root) else []
        return [str(path) for path in found]

    def _path(self, path: str) -> str:
        return self._root + path


def _write_whole(path: str, content: pa.Buffer) -> None:
    """Write a local file that appears when complete and survives a power cut."""
    with open(path + UNFINISHED, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + UNFINISHED, path)
    if os.name == "posix":
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            # the name as well, before the next file of the flush gets its own
            os.fsync(folder)
        finally:
            os.close(folder)
