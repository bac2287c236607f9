"""Who may import whom: each package keeps to its room, and every file stays readable."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("detector", "producers", "stream")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MOST_LINES = 400

DETECTOR_MAY = {"numpy", "scipy", "torch", "safetensors", "fsspec", "orjson", "detector"}
EXTRAS = {
    "art",
    "chaoslib",
    "matplotlib",
    "PIL",
    "jgo",
    "confluent_kafka",
    "cryptography",
    "psutil",
    "pyarrow",
    "sklearn",
    "jinja2",
    "apprise",
    "prometheus_client",
    "opentelemetry",
    "fastapi",
    "starlette",
    "uvicorn",
}
MOCK_LIBRARIES = {"mock", "pytest_mock", "mocket", "flexmock", "doublex", "mockito"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in the file; relative ones made absolute."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def tops(path: Path) -> set[str]:
    """Top-level packages that a file imports, without the standard library."""
    return {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names


def is_within(path: Path, *folders: str) -> bool:
    return path.is_relative_to(ROOT.joinpath(*folders))


def test_the_rooms_are_found() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(ROOMS)
    assert len(SOURCES) > 50
    assert {name_of(path) for path in TESTS} >= {"tests/test_rooms.py", "tests/conftest.py"}


def test_imports_are_read_in_all_their_forms() -> None:
    assert set(imported(ROOT / "stream" / "lane.py")) >= {
        "detector.Monitor",
        "stream.alerts.Alert",
        "producers.wire.ActivationBatch",
    }
    assert tops(ROOT / "stream" / "broker" / "__init__.py") >= {"stream"}


@pytest.mark.parametrize("path", [p for p in SOURCES if is_within(p, "detector")], ids=name_of)
def test_the_detector_imports_mathematics_only(path: Path) -> None:
    assert tops(path) <= DETECTOR_MAY


@pytest.mark.parametrize("path", [p for p in SOURCES if is_within(p, "producers")], ids=name_of)
def test_producers_know_neither_the_detector_nor_the_service(path: Path) -> None:
    if not (is_within(path, "producers", "signs") or is_within(path, "producers", "chaos")):
        # it runs in other people's services: no command line, no extra
        assert not tops(path) & ({"detector", "stream", "faust", "click", "rich"} | EXTRAS)
    else:
        assert not tops(path) & {"detector", "stream", "faust"}


@pytest.mark.parametrize("path", [p for p in SOURCES if is_within(p, "stream")], ids=name_of)
def test_the_service_knows_of_producers_only_their_messages(path: Path) -> None:
    taken = {name for name in imported(path) if name.split(".")[0] == "producers"}
    assert all(name == "producers.wire" or name.startswith("producers.wire.") for name in taken)


NEED_EXTRAS = [
    ("producers", "chaos"),
    ("producers", "signs"),
    ("stream", "broker"),
    ("stream", "chaos"),
    ("stream", "dashboard"),
    ("stream", "demo"),
    ("stream", "importers"),
    ("stream", "investigate"),
    ("stream", "metrics"),
    ("stream", "notify"),
    ("stream", "recording"),
    ("stream", "traces"),
    ("stream", "security"),
    ("stream", "soak"),
]


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if not any(is_within(p, *folder) for folder in NEED_EXTRAS)],
    ids=name_of,
)
def test_only_these_folders_need_an_extra(path: Path) -> None:
    assert not tops(path) & EXTRAS


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_no_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MOST_LINES


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_nothing_is_mocked(path: Path) -> None:
    names = set(imported(path))
    assert not {name for name in names if name.split(".")[0] in MOCK_LIBRARIES}
    assert not {name for name in names if name.startswith("unittest.mock")}
