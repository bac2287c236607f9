"""``python -m latentwatch.lab.bench.hook.outage SERVERS SECONDS``: a service in an outage.

It prints lines of JSON: ``"cut"`` when the broker must go, ``"mend"`` when it must come back, and
the figures at the end.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch

from latentwatch.producers.publisher import BackgroundPublisher

__all__ = ["outage"]

BATCH, WIDTH, DEPTH = 16, 512, 6
THERE_SECONDS = 20.0
BUFFERED_ROWS = 2_048
"""Small enough to overflow in any outage, so that drops can be counted."""

PAUSE_SECONDS = 0.02
"""Pause between two passes, as in a service below its limit."""


class _Service:
    """A network of linear layers and its publisher."""

    def __init__(self, publisher: BackgroundPublisher) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(1)
        layers = [torch.nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)]
        self._model = torch.nn.Sequential(*layers).eval()
        self._rows = torch.randn(BATCH, WIDTH)
        self._publisher = publisher
        self.refused_rows = self.passes = 0

    def run(self, seconds: float) -> list[float]:
        """Run passes for `seconds`; return the seconds that each took."""
        taken: list[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.perf_counter()
            deep = self._model(self._rows)
            ids = [f"{self.passes}-{row}" for row in range(BATCH)]
            predicted = deep.argmax(1).numpy()
            if not self._publisher.publish({"deep": deep.numpy()}, predicted, request_ids=ids):
                self.refused_rows += BATCH
            taken.append(time.perf_counter() - started)
            self.passes += 1
            time.sleep(PAUSE_SECONDS)
        return taken


def outage(bootstrap_servers: str, seconds: float) -> dict[str, Any]:
    """Time passes with and without a broker.

    Parameters
    ----------
    bootstrap_servers : str
        Address of a broker with a topic ``activations``, which can be made unreachable.
    seconds : float
        How long it is unreachable.

    Returns
    -------
    dict
        The 50th and 99th percentile of a pass in milliseconds, with a broker (before and after)
        and without; rows that ``publish`` refused; the counters of the publisher.
    """
    with (
        torch.inference_mode(),
        BackgroundPublisher(
            bootstrap_servers, "outage", "1", max_buffered_rows=BUFFERED_ROWS
        ) as publisher,
    ):
        service = _Service(publisher)
        service.run(2.0)
        there = service.run(THERE_SECONDS)
        _say("cut")
        away = service.run(seconds)
        _say("mend")
        there += service.run(THERE_SECONDS)
        publisher.flush(30.0)
        counters = publisher.counters
    return {
        "passes": service.passes,
        "p50_there_milliseconds": 1e3 * float(np.quantile(there, 0.5)),
        "p50_away_milliseconds": 1e3 * float(np.quantile(away, 0.5)),
        "p99_there_milliseconds": 1e3 * float(np.quantile(there, 0.99)),
        "p99_away_milliseconds": 1e3 * float(np.quantile(away, 0.99)),
        "refused_rows": service.refused_rows,
        **{name: getattr(counters, name) for name in counters.__dataclass_fields__},
    }


def _say(what: Any) -> None:
    json.dump(what, sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _say(outage(sys.argv[1], float(sys.argv[2])))
