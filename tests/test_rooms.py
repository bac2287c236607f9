"""Who may import whom: the arrows between the rooms, one table, and files that can be read.

A room is a folder. A new arrow is a decision: it is made here. What a room takes from outside is
here as well. An ``__init__.py`` may hand on names of the rooms below it; that is no arrow.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSES = ("detector", "producers", "stream", "chaos", "lab")
SOURCES = sorted(path for house in HOUSES for path in (ROOT / house).rglob("*.py"))
PACKAGE = ROOT / "src" / "latentwatch"
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MOST_LINES = 400

# what each room may import of the others
ARROWS: Mapping[str, str] = {
    "detector": "",
    "detector/clients": "detector",
    "detector/evaluation": "detector",
    "detector/screening": "detector",
    "producers": "",
    "stream": "",
    "stream/core": "detector detector/clients producers",
    "stream/settings": "stream/core",
    "stream/processes": "",
    "stream/kafka": "stream/core stream/settings",
    "stream/signing": "detector stream/core",
    "stream/recording": "detector producers stream/core stream/kafka stream/settings",
    "stream/replay": (
        "detector producers stream/core stream/kafka stream/recording stream/settings"
    ),
    "stream/importers": "detector producers stream/core stream/recording",
    "stream/investigate": (
        "detector detector/clients producers stream/core stream/kafka stream/recording "
        "stream/settings"
    ),
    "stream/notify": "stream/core stream/kafka stream/settings",
    "stream/dashboard": "stream/core stream/investigate stream/kafka stream/settings",
    "stream/service": (
        "detector producers stream/core stream/kafka stream/service/metrics "
        "stream/service/traces stream/settings stream/signing"
    ),
    "stream/service/metrics": "stream/core stream/settings",
    "stream/service/traces": "producers stream/core stream/kafka stream/settings",
    "stream/cli": (
        "detector stream/core stream/dashboard stream/importers stream/investigate stream/kafka "
        "stream/notify stream/recording stream/replay stream/service stream/service/traces "
        "stream/settings stream/signing"
    ),
    "chaos": "",
    "chaos/traffic": "producers",
    "chaos/experiment": (
        "chaos/traffic detector detector/evaluation stream/cli stream/core stream/investigate "
        "stream/kafka stream/processes stream/recording stream/service stream/settings"
    ),
    "lab": "",
    "lab/signs": "chaos/traffic producers",
    "lab/brokers": "stream/core stream/kafka stream/processes stream/settings",
    "lab/peers": "detector detector/evaluation stream/core",
    "lab/evaluate": "detector detector/evaluation lab/peers stream/cli",
    "lab/demo": (
        "lab/brokers stream/cli stream/core stream/kafka stream/processes stream/service "
        "stream/settings"
    ),
    "lab/bench/hook": "producers",
    "lab/bench": (
        "detector detector/evaluation lab/brokers lab/peers producers stream/cli stream/core "
        "stream/kafka stream/recording stream/replay stream/service stream/settings"
    ),
    "lab/soak": (
        "detector lab/bench lab/brokers producers stream/cli stream/core stream/kafka "
        "stream/notify stream/recording stream/replay stream/service stream/settings"
    ),
}

# packages from elsewhere, beside those of the house; a room has those of its house and its own
PACKAGES: Mapping[str, str] = {
    "detector": "numpy scipy safetensors orjson fsspec",
    "producers": "numpy orjson aiokafka",
    "stream": "numpy orjson aiokafka click fsspec rich structlog",
    "stream/core": "pydantic",
    "stream/settings": "pydantic pydantic_settings",
    "stream/kafka": "cramjam faust mode",
    "stream/signing": "cryptography",
    "stream/recording": "pyarrow",
    "stream/replay": "pyarrow",
    "stream/importers": "pyarrow",
    "stream/investigate": "pyarrow jinja2 matplotlib sklearn scipy",
    "stream/notify": "aiohttp apprise",
    "stream/dashboard": "aiohttp fastapi starlette uvicorn prometheus_client pydantic",
    "stream/service": "faust mode torch",
    "stream/service/metrics": "prometheus_client",
    "stream/service/traces": "opentelemetry",
    "stream/cli": "pyarrow",
    "chaos": "numpy orjson click rich",
    "chaos/traffic": "torch art",
    "chaos/experiment": "chaoslib aiokafka",
    "lab": "numpy orjson click rich torch",
    "lab/signs": "art PIL safetensors",
    "lab/brokers": "jgo confluent_kafka aiokafka",
    "lab/peers": "scipy alibi_detect frouros safetensors",
    "lab/demo": "matplotlib aiokafka prometheus_client PIL",
    "lab/bench/hook": "aiokafka torchvision",
    "lab/bench": "aiokafka alibi_detect frouros psutil pyarrow structlog",
    "lab/soak": "aiokafka psutil scipy structlog",
}

# where one file needs a package, no other of its room may
ONLY_HERE = {
    ("producers/capture.py", "torch"),
    ("producers/_hooks.py", "torch"),
    ("producers/prometheus.py", "prometheus_client"),
}

MOCK_LIBRARIES = {"mock", "pytest_mock", "mocket", "flexmock", "doublex", "mockito"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    return str(path.relative_to(ROOT).parent)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(["latentwatch", *(part for part in parts if part != "__init__")])


FILES = {module_of(path): path for path in SOURCES}


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in the file; relative ones made absolute."""
    package = ("latentwatch", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def files_imported(path: Path) -> set[Path]:
    """Files of the project that a file imports, other than itself."""
    found = set()
    for name in imported(path):
        file = FILES.get(name) or FILES.get(name.rpartition(".")[0])
        if file is not None and file != path:
            found.add(file)
    return found


def arrows_of(path: Path) -> set[str]:
    """Other rooms that a file imports from; those below a face are not counted."""
    room = room_of(path)
    found = {room_of(file) for file in files_imported(path)} - {room}
    if path.name == "__init__.py":
        return {other for other in found if not other.startswith(f"{room}/")}
    return found


def packages_of(path: Path) -> set[str]:
    """Top-level packages from elsewhere that a file imports."""
    tops = {name.split(".")[0] for name in imported(path)}
    return tops - sys.stdlib_module_names - {"latentwatch"}


def allowed_packages(path: Path) -> set[str]:
    parts = Path(room_of(path)).parts
    rooms = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    own = {package for file, package in ONLY_HERE if file == name_of(path)}
    return own.union(*(PACKAGES.get(room, "").split() for room in rooms))


def test_imports_are_read_in_all_their_forms() -> None:
    assert set(imported(ROOT / "stream" / "core" / "lane.py")) >= {
        "latentwatch.detector.Monitor",
        "latentwatch.stream.core.alerts.Alert",
        "latentwatch.producers.wire.ActivationBatch",
    }
    assert "stream/core" in arrows_of(ROOT / "stream" / "kafka" / "topics.py")
    assert "prometheus_client" in packages_of(ROOT / "producers" / "prometheus.py")


def test_the_table_names_every_room_and_no_other() -> None:
    assert {room_of(path) for path in SOURCES} == set(ARROWS)


def test_every_house_has_its_link() -> None:
    links = {path.name: path.readlink() for path in PACKAGE.iterdir() if path.is_symlink()}
    assert links == {house: Path("..", "..", house) for house in HOUSES}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_room_imports_only_those_that_the_table_allows(path: Path) -> None:
    assert arrows_of(path) <= set(ARROWS[room_of(path)].split())


def test_every_arrow_of_the_table_is_in_use() -> None:
    drawn: dict[str, set[str]] = {room: set() for room in ARROWS}
    for path in SOURCES:
        drawn[room_of(path)] |= arrows_of(path)
    assert {room: set(text.split()) for room, text in ARROWS.items()} == drawn


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_room_takes_from_elsewhere_only_what_the_table_allows(path: Path) -> None:
    assert packages_of(path) <= allowed_packages(path)


def test_the_service_knows_of_producers_only_their_messages() -> None:
    for path in SOURCES:
        if path.is_relative_to(ROOT / "stream"):
            taken = {name for name in imported(path) if name.startswith("latentwatch.producers")}
            assert all(name.startswith("latentwatch.producers.wire.") for name in taken), path


def test_no_circle_of_rooms() -> None:
    houses: dict[str, set[str]] = {house: set() for house in HOUSES}
    for room, text in ARROWS.items():
        house = room.split("/")[0]
        houses[house] |= {other.split("/")[0] for other in text.split()} - {house}
    for graph in ({room: set(text.split()) for room, text in ARROWS.items()}, houses):
        list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_no_circle_of_files() -> None:
    graph = {path: files_imported(path) for path in SOURCES if path.name != "__init__.py"}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_nothing_imports_the_folders_by_their_bare_names(path: Path) -> None:
    assert not packages_of(path) & set(HOUSES)


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_no_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MOST_LINES


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_nothing_is_mocked(path: Path) -> None:
    names = set(imported(path))
    assert not {name for name in names if name.split(".")[0] in MOCK_LIBRARIES}
    assert not {name for name in names if name.startswith("unittest.mock")}
