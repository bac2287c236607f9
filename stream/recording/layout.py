"""Layout of a recording: file names, columns and metadata.

One folder per model, version and hour, in Hive's form, so that any reader finds the three as
columns. A *flush* is what a recorder writes at once: the messages of one partition from one offset
to another. Its file names contain both offsets, and its files list each other in their metadata, in
the order in which they are written, older hours first. A flush is complete if the last of them
exists, and the next one begins where it ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from latentwatch import __version__
from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.times import hour_name, parse_hour

__all__ = [
    "ACTIVATION",
    "CLIENT",
    "COLUMNS",
    "FilePlace",
    "Flush",
    "file_schema",
    "hour_folder",
    "read_metadata",
]

SCHEMA_VERSION = 1

CLIENT = "client"
"""Files written before 0.1.0 lack this column."""

ACTIVATION = "activation_"
"""Prefix of layer names, so that no layer can clash with another column."""

_METADATA = b"latentwatch"

COLUMNS: tuple[pa.Field, ...] = (
    pa.field("request_id", pa.string(), nullable=False),
    pa.field("event_time", pa.timestamp("ns", tz="UTC"), nullable=False),
    pa.field("partition", pa.int32(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("row", pa.int32(), nullable=False),
    pa.field("predicted_class", pa.int32(), nullable=False),
    pa.field("input_ref", pa.string()),
    pa.field(CLIENT, pa.string()),
    # of the message: equal for all its rows, except for a traceparent, which a row may have itself
    pa.field("event_id", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("time", pa.string(), nullable=False),
    pa.field("traceparent", pa.string()),
    pa.field("shard", pa.string()),
)
"""Columns of every file; one fixed-size list per layer follows."""

_PLACE = re.compile(
    r"model=(?P<model>[^/]+)/version=(?P<version>[^/]+)/hour=(?P<hour>[^/]+)/"
    r"p(?P<partition>\d+)-(?P<first>\d+)-(?P<next>\d+)(?:-(?P<variant>\d+))?\.parquet"
)


@dataclass(frozen=True, slots=True, order=True)
class Flush:
    """Messages of one partition: those at `first` and later, before `next`."""

    partition: int
    first: int
    next: int

    def meets(self, other: Flush) -> bool:
        """Whether both have offsets of one partition in common."""
        return (
            self.partition == other.partition
            and self.first < other.next
            and other.first < self.next
        )

    def covers(self, other: Flush) -> bool:
        """Whether it has all offsets of another one."""
        return (
            self.partition == other.partition
            and self.first <= other.first
            and other.next <= self.next
        )


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Which rows a file contains, encoded in its path.

    Parameters
    ----------
    model, version : str
    hour : int
        Hours since 1970, UTC.
    flush : Flush
    variant : int
        Above 0 if messages of one flush have different layers from the ones before.
    """

    model: str
    version: str
    hour: int
    flush: Flush
    variant: int = 0

    @property
    def path(self) -> str:
        """Path within the recording."""
        flush = self.flush
        name = f"p{flush.partition:05}-{flush.first:020}-{flush.next:020}"
        variant = f"-{self.variant}" if self.variant else ""
        folder = f"model={self.model}/version={self.version}/hour={hour_folder(self.hour)}"
        return f"{folder}/{name}{variant}.parquet"

    @classmethod
    def parse(cls, path: str) -> FilePlace | None:
        """Inverse of `path`; None for any other path."""
        found = _PLACE.fullmatch(path)
        if found is None:
            return None
        try:
            hour = parse_hour(f"{found['hour']}:00:00Z")
        except ValueError:
            return None
        flush = Flush(int(found["partition"]), int(found["first"]), int(found["next"]))
        place = cls(found["model"], found["version"], hour, flush, int(found["variant"] or 0))
        return place if place.path == path else None


def hour_folder(hour: int) -> str:
    """Folder name of an hour, counted since 1970, UTC; some file systems do not allow colons."""
    return hour_name(hour).partition(":")[0]


def file_schema(
    place: FilePlace, layers: dict[str, tuple[pa.DataType, int]], files: list[str]
) -> pa.Schema:
    """Schema of a file.

    Parameters
    ----------
    place : FilePlace
    layers : dict of str to (pyarrow.DataType, int)
        Value type and width by name, in the order of the messages.
    files : list of str
        Paths of all files of its flush, in the order in which they are written.
    """
    activations = [
        pa.field(ACTIVATION + name, pa.list_(pa.field("item", kind, nullable=False), width))
        for name, (kind, width) in layers.items()
    ]
    metadata = {
        "schema": SCHEMA_VERSION,
        "model": place.model,
        "version": place.version,
        "layers": list(layers),
        "flush": files,
        "software_version": __version__,
    }
    return pa.schema([*COLUMNS, *activations], {_METADATA: orjson.dumps(metadata)})


def read_metadata(schema: pa.Schema, name: str) -> dict[str, Any]:
    """What `file_schema` wrote.

    Raises
    ------
    RecordingError
        The file `name` is not a recording, or has a newer schema.
    """
    metadata = _parse((schema.metadata or {}).get(_METADATA, b""))
    version = metadata.get("schema", SCHEMA_VERSION)
    # first of all: another version may have other columns
    if version != SCHEMA_VERSION:
        raise RecordingError(
            f"{name} has schema version {version}, and this software reads {SCHEMA_VERSION}: "
            "upgrade latentwatch"
        )
    needed = [column.name for column in COLUMNS if column.name != CLIENT]
    missing = [name for name in needed if name not in schema.names]
    if not metadata or missing:
        lacks = f"lacks {', '.join(missing)}" if missing else "has no metadata of latentwatch"
        raise RecordingError(
            f"{name} is a Parquet file of something else ({lacks}): keep foreign files out of the "
            "recording's folder, or convert them with `latentwatch import`"
        )
    return metadata


def _parse(text: bytes) -> dict[str, Any]:
    try:
        metadata = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return metadata if isinstance(metadata, dict) else {}
