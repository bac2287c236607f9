"""Cost of capture and publisher for an inference service, measured in a separate process."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from latentwatch.lab.brokers import KafkaBroker
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.settings import Settings

__all__ = ["overhead"]


def overhead(folder: Path, say: Callable[[str], None], seconds: float = 90.0) -> dict[str, float]:
    """Hook and publisher on a ResNet-18; empty without the extra `bench`."""
    if importlib.util.find_spec("torchvision") is None:
        say("torchvision is missing: pip install 'latentwatch[bench]'")
        return {}
    say("starting a broker")
    with KafkaBroker() as broker:
        asyncio.run(create_topics(Settings(bootstrap_servers=broker.bootstrap_servers)))
        say(f"forward passes, {seconds:g} s")
        found = _watched(broker.bootstrap_servers, seconds, "cpu")
        if torch.cuda.is_available():
            say(f"forward passes on a CUDA device, {seconds:g} s")
            there = _watched(broker.bootstrap_servers, seconds, "cuda")
            found |= {f"cuda_{name}": figure for name, figure in there.items()}
    return found


def _watched(bootstrap_servers: str, seconds: float, device: str) -> dict[str, float]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "latentwatch.lab.bench.hook.overhead",
            bootstrap_servers,
            str(seconds),
            device,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found
