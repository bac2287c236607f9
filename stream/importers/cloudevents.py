"""CloudEvents in files: JSON lines, JSON, and what Knative's event display prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentwatch.stream.importers.events import NotImportedError, Summary
from latentwatch.stream.importers.outputs import parse_json

__all__ = ["read_cloudevents"]

SUFFIXES = (".json", ".jsonl", ".ndjson", ".log", ".txt")

DISPLAYED = "cloudevents.Event"
"""Heads each event that the event display prints, after a cloud."""

Found = tuple[str, dict[str, Any]]
"""Place (file and line) and members of an event."""


def read_cloudevents(path: Path, summary: Summary) -> Iterator[Found]:
    """Events of a file, or of all files below a folder, in the order of their names.

    A file holds events in structured mode (one JSON object, an array of them, or a line each), or
    the log of an event display.
    """
    for file, name in _files(path, summary):
        content = file.read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            summary.skip("other file", name, "it is not UTF-8 text")
            continue
        head = text.lstrip().partition("\n")[0].strip()
        if head.endswith(DISPLAYED):
            yield from _displayed(text, name)
        else:
            yield from _structured(text, name, summary)


def _files(path: Path, summary: Summary) -> Iterator[tuple[Path, str]]:
    if path.is_file():
        yield path, path.name
        return
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = file.relative_to(path).as_posix()
        if file.suffix in SUFFIXES:
            yield file, name
        else:
            known = ", ".join(SUFFIXES)
            summary.skip("other file", name, f"only {known} are read; pass the file itself")


def _structured(text: str, name: str, summary: Summary) -> Iterator[Found]:
    """One JSON value that takes the whole file, or one on each line."""
    lines = text.splitlines()
    try:
        whole = parse_json(text)
        values = [(1, value) for value in (whole if isinstance(whole, list) else [whole])]
    except NotImportedError:
        values = []
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip():
                    values.append((number, parse_json(line)))
            except NotImportedError as error:
                summary.skip(error.reason, f"{name}:{number}", error.detail)
    for number, value in values:
        if isinstance(value, dict) and "specversion" in value:
            yield f"{name}:{number}", value
        else:
            detail = "it has no specversion: give events in structured mode"
            summary.skip("no CloudEvent", f"{name}:{number}", detail)


def _displayed(text: str, name: str) -> Iterator[Found]:
    """Events as text: attributes and extensions on indented lines, then the data."""
    event: dict[str, Any] = {}
    data: list[str] = []
    start, section = 0, ""
    # a last heading ends the last event
    for number, line in enumerate([*text.splitlines(), DISPLAYED], start=1):
        if line.strip().endswith(DISPLAYED):
            if event:
                yield f"{name}:{start}", event | {"data": "\n".join(data).strip()}
            event, start, section, data = {}, number, "", []
        elif line and not line[0].isspace():
            section = line.strip().rstrip(",")
        elif section in ("Context Attributes", "Extensions"):
            key, _, value = line.strip().partition(":")
            event[key] = value.strip()
        elif section.startswith("Data"):
            data.append(line)
