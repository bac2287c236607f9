"""A recorder whose disk fills up, and one that continues when there is room again.

The disk is a small file system in memory, mounted in the recorder's own user and mount namespaces
(Linux, ``unshare``): that needs no privileges, and no other process sees it. A limit on file sizes
would not do: it stops one file, and not the next.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

from latentwatch.lab.soak.cluster import one_behind_a_gateway
from latentwatch.lab.soak.run import Outcome, Say
from latentwatch.lab.soak.topics import read_topics
from latentwatch.lab.soak.truth import truth_of
from latentwatch.lab.soak.verdict import Check, between
from latentwatch.lab.soak.world import Frame, open_world, sending
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.recording import Recording
from latentwatch.stream.settings import Settings

__all__ = ["recorder"]

FILL_SECONDS = 12.0
SCRIPT = """
set -u
mount -t tmpfs -o size=300k none "$1"
"$2" -m latentwatch record --out "$1/recording" --rotate-seconds 1
echo "full: exit code $?"
mount -o remount,size=512m "$1"
"$2" -m latentwatch record --out "$1/recording" --until-end
echo "room again: exit code $?"
cp -r "$1/recording" "$3"
"""


async def recorder(folder: Path, say: Say, frame: Frame) -> Outcome:
    """Record until the disk is full, make room, record to the end; compare with the topic."""
    started = time.monotonic()
    say("starting a broker")
    async with (
        one_behind_a_gateway(folder) as brokers,
        open_world(frame, brokers, folder, random.Random(0)) as world,
    ):
        async with sending(world):
            await asyncio.sleep(FILL_SECONDS)
        say("recording onto a disk that is too small, then onto one that is not")
        printed = await _record(world.settings, folder)
        content = await read_topics(world.settings)
        checks = await asyncio.to_thread(
            _checks, world.settings, content["activations"], folder / "recorded", printed
        )
        return Outcome("recorder", time.monotonic() - started, len(world.sender.sent), [], checks)


async def _record(settings: Settings, folder: Path) -> str:
    disk = folder / "disk"
    disk.mkdir()
    process = await asyncio.create_subprocess_exec(
        "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT,
        "sh", str(disk), sys.executable, str(folder / "recorded"),
        env={**os.environ, **settings.environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    (folder / "recorder.log").write_bytes(output)
    return output.decode(errors="replace")


def _checks(settings: Settings, messages: list[object], url: Path, printed: str) -> list[Check]:
    truth = truth_of(settings, messages)
    wrong = (
        ()
        if "full: exit code 1" in printed
        else (f"output of the first recorder: {printed[-500:]}",)
    )
    silent = () if "No space left" in printed else ("the message does not say why",)
    ended = Check("the recorder ends when the disk is full, and says so", 1, (*wrong, *silent))
    if not url.exists():
        return [ended, Check("a recording", 1, (printed[-500:],))]
    found: Counter[tuple[str, str, int]] = Counter()
    places: Counter[tuple[int, int]] = Counter()
    for message in Recording(str(url)).messages():
        places[message.partition, message.offset] += 1
        for hour in (message.batch.event_time_ns // HOUR_NS).tolist():
            found[message.batch.model, message.batch.version, hour] += 1
    twice = tuple(f"{place} is recorded {n} times" for place, n in places.items() if n > 1)
    return [
        ended,
        Check("messages recorded, once each", len(places), twice),
        Check("requests recorded, by hour", len(truth.requests), between(found, truth.requests)),
    ]
