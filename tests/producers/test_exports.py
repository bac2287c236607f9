"""What `latentwatch.producers` offers, and what it does not drag in."""

import subprocess
import sys

import pytest

from latentwatch import producers


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


def test_producers_stay_out_of_the_other_rooms_and_extras() -> None:
    loaded = modules_after(
        "import latentwatch.producers.wire, latentwatch.producers.publisher, aiokafka; "
        "import latentwatch.producers.capture, latentwatch.producers._hooks"
    )

    assert {"torch", "aiokafka"} <= loaded
    assert not loaded & {"faust", "mode", "detector", "stream", "art", "matplotlib", "PIL"}
    assert not loaded & {"confluent_kafka", "jgo", "click", "pydantic", "structlog", "rich"}
