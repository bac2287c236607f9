"""Private names of aiokafka and Faust: in one file, and still there in the installed versions."""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from latentwatch.stream.kafka.private import (
    PRIVATE_NAMES,
    IncompatibleLibraryError,
    check_private_names,
)
from latentwatch.stream.service import app
from latentwatch.stream.settings import Settings

ROOT = Path(__file__).parents[3]
SOURCES = sorted(p for house in ("stream", "chaos", "lab") for p in (ROOT / house).rglob("*.py"))
TRANSPORT = ROOT / "stream" / "kafka" / "transport.py"


def test_the_installed_versions_have_what_we_need() -> None:
    check_private_names()


@pytest.mark.parametrize(
    ("entry", "library"),
    [
        ("aiokafka.consumer.fetcher:Fetcher._proc_fetch_request BatchReader", "aiokafka"),
        ("aiokafka.consumer.fetcher:Fetcher._gone MemoryRecords", "aiokafka"),
        ("faust.gone:Consumer.getmany _wait_next_records", "faust-streaming"),
    ],
)
def test_what_is_missing_is_named_with_library_version_and_remedy(entry: str, library: str) -> None:
    where, name = entry.split()
    with pytest.raises(IncompatibleLibraryError) as error:
        check_private_names({"the reason": [entry]})
    text = str(error.value)
    assert text.startswith(f"{library} {version(library)} is not compatible")
    assert f"{where} no longer uses {name} (the reason)" in text
    assert f"Install {library}" in text


def test_a_worker_does_not_start_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("aiokafka.consumer.fetcher.Fetcher._proc_fetch_request")
    with pytest.raises(IncompatibleLibraryError, match="MemoryRecords"):
        app.run_worker(Settings())


def names() -> set[str]:
    return {entry.split()[1] for entries in PRIVATE_NAMES.values() for entry in entries}


def private_accesses(path: Path) -> Iterator[str]:
    """Attributes with an underscore, of anything but the object itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        own = isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls")
        if isinstance(node, ast.Attribute) and not own and node.attr.startswith("_"):
            yield node.attr


def test_only_one_file_accesses_them_and_only_the_transport_overrides_them() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.name != "private.py" and set(private_accesses(path)) & names()
    }
    # the overrides call what they override
    assert found == {"stream/kafka/transport.py"}
    assert {name for name in private_accesses(TRANSPORT) if not name.startswith("__")} <= names()


def test_every_hook_that_the_transport_overrides_is_checked() -> None:
    from latentwatch.stream.kafka import transport

    for kind in (transport._Thread, transport._Consumer, transport._Recovery, transport.PromptApp):
        above = {name for base in kind.__mro__[1:] for name in vars(base)}
        own = {name for name in vars(kind) if name.startswith("_") and not name.startswith("__")}
        hooks = {name for name in own & above if callable(getattr(kind, name))}
        assert hooks <= names(), kind
