"""A batch to encode, for every test of messages."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from latentwatch.producers.wire import ActivationBatch


@pytest.fixture
def make_batch() -> Callable[..., ActivationBatch]:
    """Make a valid batch of five rows and two layers, with some fields changed."""
    return _make_batch


ROWS, WIDTH = 5, 3


def _make_batch(**changes: Any) -> ActivationBatch:
    rng = np.random.default_rng(7)
    fields: dict[str, Any] = {
        "model": "signs",
        "version": "3.1",
        "activations": {
            "layer1": rng.normal(size=(ROWS, WIDTH)).astype(np.float32),
            "layer4": rng.normal(size=(ROWS, 2 * WIDTH)).astype(np.float16),
        },
        "predicted": np.arange(ROWS, dtype=np.int32),
        "event_time_ns": np.int64(1_900_000_000 * 10**9) + np.arange(ROWS, dtype=np.int64),
        "request_ids": [f"request-{row}" for row in range(ROWS)],
        "input_refs": ["s3://inputs/0", None, "s3://inputs/2", None, "ü"],
        "clients": ["alice", "bob", None, "alice", "ü"],
        "source": "/services/signs",
        "event_id": "event-1",
        "time": "2030-03-17T17:46:40Z",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "shard": "a",
    }
    return ActivationBatch(**(fields | changes))
