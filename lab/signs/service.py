"""Plays the inference service: classifies requests with the capture hook, and publishes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import orjson
import torch
from rich.progress import Progress

from latentwatch.lab.signs.errors import PlaybackError
from latentwatch.lab.signs.network import LAYER_REGEX, SERVICE_BATCH, SignNetwork
from latentwatch.lab.signs.workload import Requests
from latentwatch.producers.capture import capture
from latentwatch.producers.publisher import BackgroundPublisher

MAX_WAITING = 2048
"""Rows that may be queued in the publisher before the player waits; well below its limit."""

_POLL = 0.005  # seconds

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Played:
    """What was played.

    Parameters
    ----------
    requests
        Requests classified, published and acknowledged by the broker.
    correct
        Benign requests that were classified correctly.
    fooled
        Adversarial requests that were not.
    """

    requests: int
    correct: int
    fooled: int


def play(
    model: SignNetwork,
    requests: Requests,
    publisher: BackgroundPublisher,
    *,
    start_ns: int,
    truth: Path,
    progress: Progress,
    patience: float = 60.0,
) -> Played:
    """Classify all requests in batches and publish their activations, as fast as possible.

    A service drops rows when the broker cannot keep up; the player waits, so that none are lost.

    Parameters
    ----------
    model
        The network that serves.
    requests
        What to classify.
    publisher
        Started and unused, with room for at least `MAX_WAITING` rows and a batch.
    start_ns
        Start of the first hour, nanoseconds since 1970 UTC.
    truth
        File to write, a JSON object per request and line: ``index`` in the stream, ``request_id``,
        ``input_ref``, ``hour`` (counted from 0), ``event_time_ns``, ``label``, ``predicted`` and
        ``adversarial``.
    progress
        Shows each hour.
    patience
        Seconds without any progress of the publisher before giving up.

    Raises
    ------
    PlaybackError
        Rows were dropped or failed, or the broker accepted nothing for `patience` seconds.
    """
    truth.parent.mkdir(parents=True, exist_ok=True)
    predicted = np.empty(len(requests), dtype=np.int64)
    times = requests.plan.offset_ns + start_ns
    with (
        truth.open("wb") as file,
        torch.inference_mode(),
        capture(model.eval(), include_regex=LAYER_REGEX) as activations,
    ):
        for rows in _batches(requests, progress):
            predicted[rows] = model(requests.images[rows]).argmax(dim=1).numpy()
            _wait_for_room(publisher, patience)
            publisher.publish(
                activations.read(),
                predicted[rows],
                request_ids=requests.ids[rows],
                event_time_ns=times[rows],
                input_refs=requests.input_refs[rows],
            )
            _write_truth(file, requests, rows, times, predicted)
    _finish(publisher, len(requests), patience)
    return _tally(requests, predicted)


def _batches(requests: Requests, progress: Progress) -> Iterator[slice]:
    """Yield the rows of each batch; the last batch of an hour may be short."""
    hours = requests.plan.phases
    for hour, phase in enumerate(hours):
        first, last = np.searchsorted(requests.plan.hour, [hour, hour + 1]).tolist()
        task = progress.add_task(f"hour {hour + 1}/{len(hours)} ({phase})", total=last - first)
        for begin in range(first, last, SERVICE_BATCH):
            end = min(begin + SERVICE_BATCH, last)
            yield slice(begin, end)
            progress.update(task, advance=end - begin)


def _write_truth(
    file: BinaryIO, requests: Requests, rows: slice, times: Int64, predicted: Int64
) -> None:
    for index in range(rows.start, rows.stop):
        line = {
            "index": index,
            "request_id": requests.ids[index],
            "input_ref": requests.input_refs[index],
            "hour": int(requests.plan.hour[index]),
            "event_time_ns": int(times[index]),
            "label": int(requests.labels[index]),
            "predicted": int(predicted[index]),
            "adversarial": bool(requests.plan.adversarial[index]),
        }
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _wait_for_room(publisher: BackgroundPublisher, patience: float) -> None:
    """Wait until few enough rows are queued, as long as the broker accepts any."""
    sent, since = -1, time.monotonic()
    while (counters := publisher.counters).queued > MAX_WAITING:
        if counters.sent > sent:
            sent, since = counters.sent, time.monotonic()
        elif time.monotonic() - since > patience:
            raise PlaybackError(
                f"the broker has accepted nothing for {patience:g} s ({counters.sent} rows sent, "
                f"{counters.queued} waiting): check that it is up, its address, and that the "
                "topic exists"
            )
        time.sleep(_POLL)


def _finish(publisher: BackgroundPublisher, requests: int, patience: float) -> None:
    """Wait until everything is sent, and check that it was."""
    publisher.flush(patience)
    counters = publisher.counters
    if counters.sent != requests or counters.published != requests:
        raise PlaybackError(
            f"of {requests} requests {counters.sent} were sent, {counters.dropped} dropped, "
            f"{counters.failed} refused and {counters.queued} are still waiting after "
            f"{patience:g} s: check the broker's address and log, and that the topic exists"
        )


def _tally(requests: Requests, predicted: Int64) -> Played:
    right = predicted == requests.labels.numpy()
    adversarial = requests.plan.adversarial
    return Played(
        requests=len(requests),
        correct=int(np.count_nonzero(right & ~adversarial)),
        fooled=int(np.count_nonzero(~right & adversarial)),
    )
