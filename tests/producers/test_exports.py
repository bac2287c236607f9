"""What `latentwatch.producers` exports, and what it does not import."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from latentwatch import producers
from latentwatch.producers import errors

FOLDER = Path(producers.__file__).parent
OTHER_HOUSES = {"detector", "stream", "chaos", "lab"}
EXTRAS = {
    "PIL",
    "art",
    "click",
    "confluent_kafka",
    "faust",
    "fsspec",
    "jgo",
    "matplotlib",
    "mode",
    "prometheus_client",
    "pydantic",
    "rich",
    "safetensors",
    "scipy",
    "structlog",
}


def test_the_package_exports_what_it_names() -> None:
    assert set(producers.__all__) == {
        "ActivationBatch",
        "ActivationPublisher",
        "BackgroundPublisher",
        "CaptureError",
        "Counters",
        "EncodeError",
        "Limits",
        "Message",
        "ProducerError",
        "PublisherError",
        "Reason",
        "WireError",
        "capture",
        "decode",
        "encode",
    }
    for name in producers.__all__:
        assert callable(getattr(producers, name))
    with pytest.raises(AttributeError, match="nonsense"):
        producers.nonsense  # noqa: B018 - the access is what is tested


def test_the_tree_of_exceptions_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    tree = errors.ProducerError.__subclasses__()  # other houses may extend it
    assert drawn == [kind.__name__ for kind in tree if kind.__module__ == errors.__name__]


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the statement, and our folders."""
    script = (
        f"import sys; {statement}; "
        "print(*{name.removeprefix('latentwatch.').split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_messages_can_be_read_without_torch_and_aiokafka() -> None:
    loaded = modules_after("import latentwatch.producers.wire, latentwatch.producers.capture")

    assert {"numpy", "orjson"} <= loaded
    assert not loaded & {"torch", "aiokafka", "scipy"}


def test_capture_is_the_function_whatever_was_imported_before() -> None:
    modules_after(
        "import latentwatch.producers.capture; from latentwatch.producers import capture; "
        "assert capture.__call__"
    )
    modules_after(
        "from latentwatch.producers.capture import capture as c; "
        "from latentwatch.producers import capture as d; assert c is d"
    )


def test_producers_import_no_other_house_and_no_extra() -> None:
    """Every file but the Prometheus collector, which needs the extra metrics and says so."""
    files = sorted(path.stem for path in FOLDER.glob("*.py"))
    modules = [f"latentwatch.producers.{name}" for name in files if name not in {"prometheus"}]
    loaded = modules_after(f"import aiokafka, {', '.join(modules)}".replace(".__init__", ""))

    assert {"producers", "torch", "aiokafka"} <= loaded
    assert not loaded & OTHER_HOUSES
    assert not loaded & EXTRAS


@pytest.mark.parametrize("name", sorted(OTHER_HOUSES))
def test_an_import_of_another_house_would_be_noticed(name: str) -> None:
    assert name in modules_after(f"import latentwatch.{name}")


def test_an_import_of_an_extra_would_be_noticed() -> None:
    assert "prometheus_client" in modules_after("import latentwatch.producers.prometheus")
    assert all(name in sys.modules or find_spec(name) for name in EXTRAS), (
        "a misspelt name would never be found"
    )
