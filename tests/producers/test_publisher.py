"""The publishers without a broker: they accept, count and drop rows, and never raise."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentwatch.producers import ActivationPublisher, BackgroundPublisher, Counters, PublisherError
from latentwatch.producers._sender import ThrottledLog

NOWHERE = "127.0.0.1:1"
LOGGER = "latentwatch.producers"


def activations(rows: int, width: int = 8) -> dict[str, NDArray[Any]]:
    values = np.arange(rows * width, dtype=np.float32).reshape(rows, width) / 256
    return {"layer1": values, "layer4": values.astype(np.float16)}


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_publishing_does_not_wait_for_a_broker() -> None:
    publisher = BackgroundPublisher(NOWHERE, "signs", "3")
    start = time.perf_counter()
    publisher.start()
    rows, classes, took = activations(16), np.zeros(16, int), []
    for _ in range(100):
        begin = time.perf_counter()
        assert publisher.publish(rows, classes)
        took.append(time.perf_counter() - begin)
    elapsed = time.perf_counter() - start
    publisher.close(timeout=0.2)

    # tens of microseconds on an idle machine; a wait for the network would take far longer
    assert sorted(took)[50] < 0.005
    assert elapsed < 5.0


def test_a_full_buffer_drops_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    publisher = BackgroundPublisher(NOWHERE, "signs", "3", max_rows=10, max_buffered_rows=25)

    taken = [publisher.publish(activations(10), np.zeros(10, int)) for _ in range(5)]

    assert taken == [True, True, False, False, False]
    assert publisher.counters == Counters(published=50, dropped=30, queued=20)
    assert [record.name for record in caplog.records] == [LOGGER]  # once, not three times
    assert "dropped 10 rows" in caplog.text


@pytest.mark.parametrize("server", ["refusing", "silent"])
def test_closing_keeps_its_time_and_the_books_balance(server: str, silent_server: str) -> None:
    address = NOWHERE if server == "refusing" else silent_server
    publisher = BackgroundPublisher(address, "signs", "3")
    publisher.start()
    publisher.publish(activations(10), np.zeros(10, int))

    start = time.monotonic()
    publisher.close(timeout=1.0)

    assert time.monotonic() - start < 1.5
    assert publisher.counters == Counters(published=10, dropped=10)
    assert not publisher.publish(activations(1), [0])
    assert publisher.counters == Counters(published=11, dropped=11)


@pytest.mark.parametrize("server", ["refusing", "silent"])
def test_the_asyncio_form_closes_in_time_too(server: str, silent_server: str) -> None:
    async def serve() -> tuple[float, Counters]:
        publisher = ActivationPublisher(
            NOWHERE if server == "refusing" else silent_server, "signs", "3"
        )
        await publisher.start()
        publisher.publish(activations(10), np.zeros(10, int))
        assert not await publisher.flush(timeout=0.1)
        start = asyncio.get_running_loop().time()
        await publisher.close(timeout=1.0)
        return asyncio.get_running_loop().time() - start, publisher.counters

    took, counters = asyncio.run(serve())

    assert took < 1.5
    assert counters == Counters(published=10, dropped=10)


def test_no_thread_stays_behind() -> None:
    before = threading.active_count()
    with BackgroundPublisher(NOWHERE, "signs", "3"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_publisher_that_never_started_can_be_flushed_and_closed() -> None:
    background = BackgroundPublisher(NOWHERE, "signs", "3")
    background.publish(activations(2), [0, 1])
    assert not background.flush(0.1)
    background.close()
    background.close()
    assert background.counters == Counters(published=2, dropped=2)

    plain = ActivationPublisher(NOWHERE, "signs", "3")
    plain.publish(activations(2), [0, 1])
    asyncio.run(plain.close())
    assert plain.counters == Counters(published=2, dropped=2)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (({"x": np.ones((2, 3))}, [0, 1, 2]), {}),
        (({"x": np.ones(3)}, [0, 1, 2]), {}),
        (({}, [0, 1, 2]), {}),
        ((None, [0, 1, 2]), {}),
        (({"x": np.ones((3, 1))}, [0, 1, -2]), {}),
        (({"x": np.ones((3, 1))}, [0.5, 1, 2]), {}),
        (({"x": np.ones((3, 1))}, [0, 1, 2]), {"request_ids": ["a"]}),
        (({"x": np.ones((3, 1))}, [0, 1, 2]), {"event_time_ns": 12}),
        (({"x": np.ones((3, 1))}, [0, 1, 2]), {"input_refs": [1, 2, 3]}),
        (({"x": np.ones((3, 1))}, [0, 1, 2]), {"traceparent": ["x"]}),
        (({"x": object()}, [0, 1, 2]), {}),
    ],
)
def test_wrong_arguments_are_counted_and_logged_but_never_raised(
    arguments: Any, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    publisher = BackgroundPublisher(NOWHERE, "signs", "3")

    assert not publisher.publish(*arguments, **options)
    assert not publisher.publish(*arguments, **options)

    assert publisher.counters == Counters(published=6, failed=6)
    assert len(caplog.records) == 1
    assert "wrong arguments" in caplog.text


def test_an_empty_batch_is_nothing() -> None:
    publisher = BackgroundPublisher(NOWHERE, "signs", "3")

    assert publisher.publish({"x": np.ones((0, 4), np.float32)}, [])
    assert publisher.counters == Counters()


def test_sampling_is_counted_and_the_same_everywhere() -> None:
    ids = [f"request-{number}" for number in range(1000)]
    counters = []
    for size in (1000, 10):
        publisher = BackgroundPublisher(NOWHERE, "signs", "3", sampling_rate=0.25)
        for start in range(0, 1000, size):
            part = ids[start : start + size]
            assert publisher.publish(activations(size), np.zeros(size, int), request_ids=part)
        counters.append(publisher.counters)

    assert counters[0] == counters[1]
    assert counters[0].queued + counters[0].sampled_out == counters[0].published == 1000
    assert 190 < counters[0].queued < 310


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": "a/b"}, "model 'a/b'"),
        ({"version": ""}, "version ''"),
        ({"topic": "a b"}, "topic 'a b'"),
        ({"shard": "a/b"}, "shard 'a/b'"),
        ({"source": ""}, "source"),
        ({"datatype": "FP64"}, "FP32, FP16, BF16"),
        ({"sampling_rate": 1.5}, "sampling_rate is 1.5"),
        ({"sampling_rate": float("nan")}, "sampling_rate is nan"),
        ({"max_rows": 0}, "max_rows is 0"),
        ({"max_rows": 1025}, "max_rows is 1025"),
        ({"linger_ms": -1}, "linger_ms"),
        ({"max_buffered_rows": 5}, "max_buffered_rows is 5"),
    ],
)
def test_wrong_settings_are_named_at_once(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(PublisherError, match=says):
        BackgroundPublisher(
            **({"bootstrap_servers": NOWHERE, "model": "signs", "version": "3"} | settings)
        )


@pytest.mark.parametrize("options", [{"acks": 7}, {"no_such_option": 1}, {"compression": "rar"}])
def test_options_that_aiokafka_refuses_raise_at_the_start(options: dict[str, Any]) -> None:
    with pytest.raises(PublisherError, match="aiokafka refuses"):
        BackgroundPublisher(NOWHERE, "signs", "3", **options).start()
    with pytest.raises(PublisherError, match="aiokafka refuses"):
        asyncio.run(ActivationPublisher(NOWHERE, "signs", "3", **options).start())


def test_a_publisher_starts_once() -> None:
    with (
        BackgroundPublisher(NOWHERE, "signs", "3") as publisher,
        pytest.raises(PublisherError, match="create a new one"),
    ):
        publisher.start()


def test_a_kind_of_warning_is_logged_once_in_its_interval(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = ThrottledLog(interval=3600.0)
    for number in range(5):
        log.warning("full", f"full {number}")
    log.warning("other", "other")

    assert [record.message for record in caplog.records] == ["full 0", "other"]


def test_suppressed_warnings_are_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("latentwatch.producers._sender.time.monotonic", lambda: now)
    log = ThrottledLog(interval=30.0)
    for now in (0.0, 10.0, 29.0, 30.0, 61.0):
        log.warning("full", f"at {now:.0f}")

    assert [record.message for record in caplog.records] == [
        "at 0",
        "at 30 (2 more like this before)",
        "at 61",
    ]


def test_passwords_stay_out_of_the_representation() -> None:
    publisher = BackgroundPublisher(
        NOWHERE,
        "signs",
        "3",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="user",
        sasl_plain_password="hunter2",
    )

    assert repr(publisher) == "<BackgroundPublisher signs/3 to activations>"
    assert "hunter2" not in repr(vars(publisher))
