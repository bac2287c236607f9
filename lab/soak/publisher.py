"""The effect of an unreachable broker on inference: none, except that rows are dropped.

The service runs in its own process (``python -m latentwatch.lab.bench.hook.outage``) and publishes
through the gateway, which is cut for a while.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from latentwatch.lab.soak.cluster import Brokers, one_behind_a_gateway
from latentwatch.lab.soak.run import Outcome, Say
from latentwatch.lab.soak.topics import read_topics
from latentwatch.lab.soak.verdict import Check
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.settings import Settings

__all__ = ["publisher"]

TOLERATED = 1.2
"""Factor by which the 99th percentile of the passes may grow while the broker is away."""


async def publisher(folder: Path, say: Say, outage_seconds: float) -> Outcome:
    """Time passes before, during and after an outage; compare the counters with the topic."""
    started = time.monotonic()
    say("starting a broker")
    async with one_behind_a_gateway(folder) as brokers:
        settings = Settings(bootstrap_servers=brokers.direct)
        await create_topics(settings)
        say(f"the broker is away for {outage_seconds:g} s")
        found = await _measure(brokers, outage_seconds)
        content = await read_topics(settings)
    checks = _checks(found, len(content["activations"]))
    return Outcome("publisher", time.monotonic() - started, int(found["messages_sent"]), [], checks)


async def _measure(brokers: Brokers, seconds: float) -> dict[str, Any]:
    assert brokers.gateway is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "latentwatch.lab.bench.hook.outage", brokers.workers, str(seconds),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    found: dict[str, Any] = {}
    while line := await process.stdout.readline():
        message = json.loads(line)
        if message == "cut":
            brokers.gateway.cut("silent")
        elif message == "mend":
            brokers.gateway.mend()
        else:
            found = message
    await process.wait()
    return found


def _checks(found: dict[str, Any], in_topic: int) -> list[Check]:
    there, away = found["p99_there_milliseconds"], found["p99_away_milliseconds"]
    slow = () if away <= TOLERATED * there else (f"{away:.2f} ms instead of {there:.2f} ms",)
    rows = {name: found[name] for name in ("published", "sent", "dropped", "failed", "queued")}
    rest = rows["published"] - rows["sent"] - rows["dropped"] - rows["failed"] - rows["queued"]
    books = (f"{rows}: {rest} rows are not accounted for",) if rest else ()
    refused = found["refused_rows"]
    drops = () if refused == rows["dropped"] else (f"{refused} refused, {rows['dropped']} counted",)
    lost = max(0, found["messages_sent"] - in_topic)
    return [
        Check(
            "99 % of passes are as fast while the broker is away",
            int(found["passes"]),
            slow,
            f"p99 {there:.2f} ms with a broker, {away:.2f} ms without",
        ),
        Check(
            "rows balance",
            rows["published"],
            books,
            ", ".join(f"{count:,} {name}" for name, count in rows.items()),
        ),
        Check("drops are counted as publish said", refused, drops),
        Check(
            "messages that count as sent are in the topic",
            in_topic,
            (f"{lost} are not",) if lost else (),
            f"{found['messages_sent']} sent, {found['messages_failed']} given up",
        ),
    ]
