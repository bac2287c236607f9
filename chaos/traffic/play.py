"""Plays the inference service: classifies requests with the capture hook in place, and publishes.

A service drops rows when the broker cannot keep up. The player waits instead, so that only those
messages are lost that the experiment drops.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson
import torch

from latentwatch.chaos.traffic.errors import TrafficError
from latentwatch.chaos.traffic.plan import Stretch
from latentwatch.chaos.traffic.target import BATCH, Target
from latentwatch.chaos.traffic.workload import Requests
from latentwatch.producers.capture import capture
from latentwatch.producers.publisher import BackgroundPublisher

__all__ = ["Played", "play"]

MAX_WAITING = 2048
"""Rows that may be queued in the publisher before the player waits; well below its limit."""

PATIENCE_SECONDS = 90.0
POLL_SECONDS = 0.005


class Played(NamedTuple):
    """What was played.

    Parameters
    ----------
    requests, published, adversarial, fooled
        Numbers of requests, of those published, of adversarial ones, and of adversarial ones that
        the classifier got wrong.
    latency_ms
        Median and 99th percentile of a batch: classify, read activations, hand over.
    """

    requests: int
    published: int
    adversarial: int
    fooled: int
    latency_ms: dict[str, float]


class _Batch(NamedTuple):
    rows: slice
    is_sent: bool


def play(
    target: Target,
    requests: Requests,
    publisher: BackgroundPublisher,
    *,
    name: str,
    stretch: Stretch,
    run_seconds: float,
    truth: Path,
    seed: int,
) -> Played:
    """Classify all requests in batches and publish the captured activations.

    Parameters
    ----------
    publisher
        Started and unused, with room for at least `MAX_WAITING` rows and a batch.
    name
        Name of the stretch, the prefix of the request ids.
    run_seconds
        Wall-clock time to take; 0 is as fast as possible.
    truth
        File to write, a JSON object per request and line, in the order of event time of its
        batch: ``index``, ``request_id``, ``event_time_ns``, ``sent_at_ns`` (by the clock),
        ``label``, ``predicted``, ``kind``, ``adversarial`` and ``published``.

    Raises
    ------
    TrafficError
        Rows were dropped or failed, or the broker accepted nothing for too long.
    """
    truth.parent.mkdir(parents=True, exist_ok=True)
    predicted = np.empty(len(requests), dtype=np.int64)
    taken: list[float] = []
    begun = time.monotonic()
    with (
        truth.open("wb") as file,
        torch.inference_mode(),
        capture(target.model, include_regex=target.layers) as activations,
    ):
        for rows, is_sent in _batches(len(requests), stretch, seed):
            _wait_until(begun + run_seconds * rows.start / len(requests))
            _wait_for_room(publisher)
            start = time.perf_counter()
            predicted[rows] = target.model(requests.values[rows]).argmax(dim=1).numpy()
            layers = activations.read()
            if is_sent:
                publisher.publish(
                    layers,
                    predicted[rows],
                    request_ids=[request_id(name, row) for row in range(rows.start, rows.stop)],
                    event_time_ns=requests.plan.event_time_ns[rows],
                    clients=requests.clients and requests.clients[rows],
                )
            taken.append(time.perf_counter() - start)
            _write_truth(file, name, requests, rows, predicted, is_sent)
    published = _finish(publisher)
    return _tally(requests, predicted, published, taken)


def request_id(name: str, row: int) -> str:
    """Return the id of a request of a stretch."""
    return f"{name}-{row:06d}"


def _batches(count: int, stretch: Stretch, seed: int) -> Iterator[_Batch]:
    """Yield batches in the order in which they are served; late ones come last."""
    rng = np.random.default_rng([seed, 4])
    slices = [slice(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
    fates = rng.random(len(slices))
    late = [f < stretch.late for f in fates]
    lost = [stretch.late <= f < stretch.late + stretch.dropped for f in fates]
    order = sorted(range(len(slices)), key=lambda place: (late[place], place))
    yield from (_Batch(slices[place], not lost[place]) for place in order)


def _write_truth(
    file: BinaryIO, name: str, requests: Requests, rows: slice, predicted: Any, is_sent: bool
) -> None:
    now = time.time_ns()
    for row in range(rows.start, rows.stop):
        line = {
            "index": row,
            "request_id": request_id(name, row),
            "event_time_ns": int(requests.plan.event_time_ns[row]),
            "sent_at_ns": now,
            "label": int(requests.labels[row]),
            "predicted": int(predicted[row]),
            "kind": requests.kinds[row],
            "adversarial": requests.is_adversarial(row),
            "published": is_sent,
        }
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    file.flush()  # a probe may read it while traffic is sent


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _wait_for_room(publisher: BackgroundPublisher) -> None:
    """Wait until few enough rows are queued, as long as the broker accepts any."""
    sent, since = -1, time.monotonic()
    while (counters := publisher.counters).queued > MAX_WAITING:
        if counters.sent > sent:
            sent, since = counters.sent, time.monotonic()
        elif time.monotonic() - since > PATIENCE_SECONDS:
            raise TrafficError(
                f"the broker has accepted nothing for {PATIENCE_SECONDS:g} s ({counters.sent} rows "
                "sent): check that it is up, its address, and that the topic exists"
            )
        time.sleep(POLL_SECONDS)


def _finish(publisher: BackgroundPublisher) -> int:
    """Wait until everything is sent, make sure that it was, and return how many rows."""
    publisher.flush(PATIENCE_SECONDS)
    counters = publisher.counters
    if counters.sent != counters.published or counters.dropped or counters.failed:
        raise TrafficError(
            f"of {counters.published} requests {counters.sent} were sent, {counters.dropped} "
            f"dropped and {counters.failed} refused: check the broker's address and its log"
        )
    return counters.sent


def _tally(requests: Requests, predicted: Any, published: int, taken: list[float]) -> Played:
    wrong = predicted != requests.labels.numpy()
    adversarial = requests.plan.bad & requests.is_attack
    return Played(
        requests=len(requests),
        published=published,
        adversarial=int(adversarial.sum()),
        fooled=int((wrong & adversarial).sum()),
        latency_ms={
            "median": round(float(np.median(taken)) * 1000, 3),
            "p99": round(float(np.quantile(taken, 0.99)) * 1000, 3),
        },
    )
