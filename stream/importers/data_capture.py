"""JSON lines of SageMaker data capture whose responses carry layers as outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.importers.events import Event, NotImportedError, Summary, time_ns_of
from latentwatch.stream.importers.outputs import Outputs, parse_body, parse_json

__all__ = ["RequestId", "read_data_capture"]

RequestId = Literal["eventId", "inferenceId"]
"""Member of ``eventMetadata`` that names a request."""

EVENT_VERSION = "0"

_HOUR = re.compile(r"(?P<variant>.+)/\d{4}/\d\d/\d\d/\d\d/[^/]+")


def read_data_capture(
    path: Path, outputs: Outputs, summary: Summary, request_id: RequestId = "eventId"
) -> Iterator[Event]:
    """Read a file, or all ``*.jsonl`` of ``<endpoint>/<variant>/yyyy/mm/dd/hh/`` below a folder.

    One line is one invocation. Of several requests in it, the n-th from 0 on is named
    ``<id>/<n>``; where the inputs were captured too, the line is their `input_ref`.

    Raises
    ------
    RecordingError
        The folder holds several variants: they are not one model version.
    """
    for file, name in _files(path, summary):
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                place = f"{name}:{number}"
                try:
                    if line.strip():
                        yield _event(line, place, f"{name}#L{number}", outputs, request_id)
                except NotImportedError as error:
                    summary.skip(error.reason, place, error.detail)


def _files(path: Path, summary: Summary) -> list[tuple[Path, str]]:
    """Files with their names for people, in the order of their names."""
    if path.is_file():
        return [(path, path.name)]
    found, variants = [], set()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = file.relative_to(path).as_posix()
        if file.suffix != ".jsonl":
            summary.skip("other file", name, "data capture writes .jsonl; pass the file itself")
            continue
        found.append((file, name))
        if (hour := _HOUR.fullmatch(os.fspath(file.resolve()))) is not None:
            variants.add(hour["variant"].rsplit("/", 1)[1])
    if len(variants) > 1:
        raise RecordingError(
            f"{path} holds the variants {', '.join(sorted(variants))}: import the folder of one, "
            "<endpoint>/<variant>, because each is a separate model version"
        )
    return found


def _event(line: bytes, place: str, ref: str, outputs: Outputs, request_id: RequestId) -> Event:
    captured = parse_json(line)
    data, metadata = _parts(captured)
    output = data.get("endpointOutput")
    if not isinstance(output, dict) or not isinstance(output.get("data"), str):
        raise NotImportedError(
            "no output", "endpointOutput was not captured: capture Input and Output"
        )
    name = metadata.get(request_id)
    if not isinstance(name, str) or not name:
        raise NotImportedError("no id", f"eventMetadata has no {request_id}")
    body = parse_body(
        output["data"], str(output.get("observedContentType", "")), str(output.get("encoding"))
    )
    layers, predicted = outputs.read(body)
    rows = len(predicted)
    return Event(
        place=place,
        time_ns=time_ns_of(metadata.get("inferenceTime")),
        event_id=str(metadata.get("eventId", name)),
        source="/import/data-capture",
        request_ids=(name,) if rows == 1 else tuple(f"{name}/{row}" for row in range(rows)),
        layers=layers,
        predicted=predicted,
        input_ref=ref if "endpointInput" in data else None,
    )


def _parts(captured: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """``captureData`` and ``eventMetadata`` of a line."""
    if not isinstance(captured, dict):
        captured = {}
    data, metadata = captured.get("captureData"), captured.get("eventMetadata")
    if not isinstance(data, dict) or not isinstance(metadata, dict):
        raise NotImportedError("no data capture", "a line without captureData and eventMetadata")
    if captured.get("eventVersion") != EVENT_VERSION:
        raise NotImportedError(
            "unknown version", f"eventVersion {str(captured.get('eventVersion'))[:20]!r}, not '0'"
        )
    return data, metadata
