"""Times the online detectors of other packages; runs in a Python that has them.

    PYTHON online_peers.py ROWS.npz

Stand-alone: it imports the standard library, numpy and the detectors. ROWS.npz holds `reference`
float32 [m, d] and `rows` float32 [n, d]. Prints JSON: microseconds of processor time per request.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

WINDOW = 64
MOST_SECONDS = 30.0


def alibi(reference: Any) -> Callable[[Any], object]:
    """MMDDriftOnline on PyTorch; it takes one request at a time."""
    import torch
    from alibi_detect.cd import MMDDriftOnline  # type: ignore[import-not-found]

    torch.manual_seed(0)
    detector = MMDDriftOnline(
        reference,
        ert=1_000,
        window_size=WINDOW,
        backend="pytorch",
        n_bootstraps=2_000,
        verbose=False,
    )
    return lambda row: detector.predict(row)


def frouros(reference: Any) -> Callable[[Any], object]:
    """MMDStreaming with its default kernel."""
    from frouros.detectors.data_drift import MMDStreaming  # type: ignore[import-not-found]

    detector = MMDStreaming(window_size=WINDOW)
    detector.fit(X=reference)
    return lambda row: detector.update(value=row)


def cost(step: Callable[[Any], object], rows: Any) -> float:
    """Microseconds per request once the window is full; as many rows as there is time for."""
    for row in rows[:WINDOW]:
        step(row)
    started, done = time.process_time(), 0
    while time.process_time() - started < MOST_SECONDS and done < len(rows) - WINDOW:
        step(rows[WINDOW + done])
        done += 1
    return (time.process_time() - started) / done * 1e6


def main() -> None:
    """Print the figures."""
    with np.load(sys.argv[1]) as file:
        reference, rows = file["reference"], file["rows"]
    makers = {"alibi_mmd_online": alibi, "frouros_mmd_streaming": frouros}
    json.dump({name: cost(make(reference), rows) for name, make in makers.items()}, sys.stdout)


if __name__ == "__main__":
    main()
