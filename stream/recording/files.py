"""The files of a recording, local or at any fsspec URL: listed, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from detector.artefact import filesystem_of
from stream.errors import RecordingError

from .layout import FilePlace, Flush, read_metadata

__all__ = ["RecordingFiles"]

UNFINISHED = ".unfinished"
"""Ends the name of a file that is being written."""


class RecordingFiles:
    """The folder of a recording.

    Parameters
    ----------
    url : str
        Path or fsspec URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._filesystem, self._root = filesystem_of(self.url)

    @cached_property
    def _is_local(self) -> bool:
        protocol = self._filesystem.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def places(self) -> list[FilePlace]:
        """Every file that is there, by flush."""
        self._filesystem.invalidate_cache()
        found = self._filesystem.find(self._root) if self._filesystem.exists(self._root) else []
        places = [p for path in found if (p := FilePlace.parse(str(path))) is not None]
        return sorted(places, key=lambda place: (place.flush, place.path))

    def open_table(self, place: FilePlace, columns: list[str] | None = None) -> pa.Table:
        """Read a file, or some of its columns.

        Raises
        ------
        RecordingError
            The file is damaged, or no part of a recording.
        """
        with self._parquet(place) as parquet:
            return parquet.read(columns)

    def schema(self, place: FilePlace) -> pa.Schema:
        """Schema of a file; `RecordingError` where it is no part of a recording."""
        with self._parquet(place) as parquet:
            return parquet.schema_arrow

    def rows(self, place: FilePlace) -> int:
        """Rows of a file, from its footer."""
        with self._parquet(place) as parquet:
            return int(parquet.metadata.num_rows)

    @contextmanager
    def _parquet(self, place: FilePlace) -> Iterator[pq.ParquetFile]:
        """Open a file; whatever is wrong with it becomes a `RecordingError`."""
        try:
            with self._filesystem.open(self._path(place.path), "rb") as source:
                parquet = pq.ParquetFile(source, pre_buffer=True)
                read_metadata(parquet.schema_arrow, self.name(place))
                yield parquet
        except (pa.ArrowException, OSError) as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            raise RecordingError(
                f"{self.name(place)} cannot be read ({reason}): it is damaged or was cut short; "
                "copy it anew from where it came, or delete it and record that part again"
            ) from error

    def name(self, place: FilePlace) -> str:
        """Where a file is, for messages."""
        return f"{self.url}/{place.path}"

    def write(self, place: FilePlace, table: pa.Table) -> int:
        """Write a file, which appears when it is complete; return its bytes."""
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=1,
            use_dictionary=["event_id", "source", "time", "traceparent", "shard"],
            store_schema=True,
        )
        content = sink.getvalue()
        path = self._path(place.path)
        if not self._is_local:
            # object stores show an object when it is whole
            self._filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._filesystem.pipe_file(path, content.to_pybytes())
            return int(content.size)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + UNFINISHED, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + UNFINISHED, path)
        return int(content.size)

    def recover(self) -> dict[int, int]:
        """Remove what a killed recorder left unfinished; return the next offset by partition.

        A flush is whole if every file that its files list is there. Only the newest one of a
        partition can be in pieces, for a recorder finishes one before it begins the next.
        """
        self._remove_unfinished()
        places = self.places()
        offsets = {}
        for partition in {place.flush.partition for place in places}:
            newest = max(p.flush for p in places if p.flush.partition == partition)
            files = [place for place in places if place.flush == newest]
            offsets[partition] = self._end(newest, files)
        return offsets

    def _end(self, flush: Flush, files: list[FilePlace]) -> int:
        there = {place.path for place in files}
        listed = read_metadata(self.schema(files[0]), self.name(files[0]))["flush"]
        if there >= set(listed):
            return flush.next
        for place in files:
            self._filesystem.rm_file(self._path(place.path))
        return flush.first

    def _remove_unfinished(self) -> None:
        if not self._is_local:
            return
        for path in self._filesystem.find(self._root):
            if str(path).endswith(".parquet" + UNFINISHED):
                self._filesystem.rm_file(path)

    def _path(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"
