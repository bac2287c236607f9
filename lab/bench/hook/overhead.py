"""``python -m latentwatch.lab.bench.hook.overhead SERVERS SECONDS [DEVICE]``: figures as JSON.

A ResNet-18 with and without hook and publisher, in turns, so that conditions are the same.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from latentwatch.producers.capture import capture
from latentwatch.producers.publisher import BackgroundPublisher

__all__ = ["overhead"]

BATCH = 16
LAYERS = r"^layer[134]$"
TOPIC = "activations"


def overhead(bootstrap_servers: str, seconds: float, device: str = "cpu") -> dict[str, float]:
    """Time forward passes of 16 pictures, alternately bare and watched.

    Parameters
    ----------
    bootstrap_servers : str
        A real Kafka with a topic ``activations``.
    seconds : float
        How long to measure.
    device : str
        Device of the model, as torch names it.

    Returns
    -------
    dict
        Medians and 99th percentiles of bare and watched passes in milliseconds, the overhead in
        per cent of the median, and the rows sent.
    """
    # an extra that is not needed to import this module
    from torchvision.models import resnet18

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = resnet18(weights=None).eval().to(device)
    pictures = torch.randn(BATCH, 3, 224, 224, device=device)
    bare: list[float] = []
    watched: list[float] = []
    with (
        torch.inference_mode(),
        BackgroundPublisher(bootstrap_servers, "resnet18", "1", topic=TOPIC) as publisher,
    ):
        _warm_up(model, pictures)
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            bare.append(_bare(model, pictures))
            watched.append(_watched(model, pictures, publisher, number))
            number += 1
        publisher.flush(10.0)
        counters = publisher.counters
    base, with_hook = float(np.median(bare)), float(np.median(watched))
    return {
        "passes": float(len(bare)),
        "bare_milliseconds": 1e3 * base,
        "watched_milliseconds": 1e3 * with_hook,
        "overhead_percent": 100.0 * (with_hook / base - 1.0),
        "bare_p99_milliseconds": 1e3 * float(np.quantile(bare, 0.99)),
        "watched_p99_milliseconds": 1e3 * float(np.quantile(watched, 0.99)),
        "rows_sent": float(counters.sent),
    }


def _warm_up(model: Any, pictures: torch.Tensor) -> None:
    for _ in range(3):
        model(pictures)


def _bare(model: Any, pictures: torch.Tensor) -> float:
    started = time.perf_counter()
    model(pictures).argmax(1).cpu().numpy()
    return time.perf_counter() - started


def _watched(
    model: Any, pictures: torch.Tensor, publisher: BackgroundPublisher, number: int
) -> float:
    """Time a watched pass; placing the hooks is not timed, because a service does it once."""
    with ExitStack() as stack:
        activations = stack.enter_context(capture(model, include_regex=LAYERS))
        started = time.perf_counter()
        predicted = model(pictures).argmax(1).cpu().numpy()
        ids = [f"{number}-{row}" for row in range(len(pictures))]
        publisher.publish(activations.read(), predicted, request_ids=ids)
        return time.perf_counter() - started


if __name__ == "__main__":
    json.dump(overhead(sys.argv[1], float(sys.argv[2]), *sys.argv[3:]), sys.stdout)
