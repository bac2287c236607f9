"""``python -m latentwatch.lab.soak.raising worker``: a worker that raises in its work.

The variable ``LATENTWATCH_SOAK_RAISE`` names a file. While it exists it holds the name of a stage
of the work, see `STAGES`; the worker that next enters that stage deletes the file and raises.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

__all__ = ["STAGES", "VARIABLE"]

VARIABLE = "LATENTWATCH_SOAK_RAISE"

STAGES = {
    "take": "latentwatch.stream.service.engine:Engine.take",
    "decide": "latentwatch.stream.core.lane:Lane.take_admitted",
    "encode": "latentwatch.stream.core.lane:Lane.to_bytes",
    "send": "aiokafka:AIOKafkaProducer.send",
    "store": "latentwatch.stream.service.engine:Engine._store_states",
    "commit": "latentwatch.stream.kafka.transport:_Consumer._commit_offsets",
}
"""From a message to its committed offset; ``send`` raises in the middle of a flush, too."""


def _claimed(stage: str) -> bool:
    """Whether this worker is the one that raises; only one can take the file away."""
    file = Path(os.environ[VARIABLE])
    try:
        if file.read_text() != stage:
            return False
        file.unlink()
    except OSError:
        return False
    return True


def _raising(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
    error = RuntimeError(f"the soak raises in stage {stage}")
    if inspect.iscoroutinefunction(work):

        @wraps(work)
        async def later(*args: Any, **options: Any) -> Any:
            if _claimed(stage):
                raise error
            return await work(*args, **options)

        return later

    @wraps(work)
    def now(*args: Any, **options: Any) -> Any:
        if _claimed(stage):
            raise error
        return work(*args, **options)

    return now


def _arm() -> None:
    """Replace each stage by one that may raise."""
    for stage, place in STAGES.items():
        module, _, path = place.partition(":")
        owner, name = path.split(".")
        kind = getattr(importlib.import_module(module), owner)
        setattr(kind, name, _raising(stage, getattr(kind, name)))


if __name__ == "__main__":
    _arm()
    from latentwatch.stream.cli.main import main

    main()
