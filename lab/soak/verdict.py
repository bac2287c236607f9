"""Compares the content of the topics with the truth, and lists what differs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from latentwatch.lab.soak.synthetic_stream import Planned
from latentwatch.lab.soak.topics import Content
from latentwatch.lab.soak.truth import Hour, Truth, hour_sums
from latentwatch.stream.core.hours import HourPart, Tally
from latentwatch.stream.core.times import hour_name
from latentwatch.stream.notify.change import Announced, alert_state
from latentwatch.stream.settings import Settings

__all__ = ["Check", "between", "counted", "verdict"]

SHOWN = 5
"""Differences that are listed in full."""


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation: what was compared, how many items, and what differs."""

    name: str
    compared: int
    differences: tuple[str, ...] = ()
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verdict(
    settings: Settings, sent: Iterable[Planned], content: Content, truth: Truth
) -> list[Check]:
    """Check every expectation of a run.

    Parameters
    ----------
    settings : Settings
    sent : iterable of Planned
        The messages of the sender, in order.
    content : Content
        Content of the topics.
    truth : Truth
        Truth of the input in `content`.
    """
    topics = settings.topics()
    return [
        _input(list(sent), content["activations"]),
        _counts(content["detection_rates"], truth.requests),
        _sums(content["hour_sketches"], truth),
        _rates(content["detection_rates"], truth.records.get(topics.detection_rates, [])),
        _flagged(content["flagged_requests"], truth.records.get(topics.flagged_requests, [])),
        _alerts(content["alerts"], truth.records.get(topics.alerts, [])),
        _changes(content["alerts"], truth.records.get(topics.alerts, [])),
        _dead_letters(content["dead_letter"], truth.refused),
    ]


def counted(rates: Iterable[Any]) -> Counter[Hour]:
    """Count requests by hour in the latest rates; of several layers the smallest count."""
    newest: dict[bytes, dict[str, Any]] = {r.key: orjson.loads(r.value)["data"] for r in rates}
    found: dict[Hour, int] = {}
    for row in newest.values():
        hour = (row["model"], row["version"], row["hour"])
        found[hour] = min(row["requests"], found.get(hour, row["requests"]))
    return Counter(found)


def _named(requests: Mapping[Hour, int]) -> dict[Any, int]:
    return {(model, version, hour_name(hour)): n for (model, version, hour), n in requests.items()}


def _input(sent: list[Planned], records: list[Any]) -> Check:
    """Check that each message arrived exactly once; without that there is nothing to compare."""
    wanted = Counter((m.partition, m.key, m.value) for m in sent)
    found = Counter((r.partition, r.key, r.value) for r in records)
    return Check("messages sent are in the input, once", len(sent), between(found, wanted))


def _counts(rates: list[Any], requests: Counter[Hour]) -> Check:
    wanted = _named(requests)
    return Check(
        "requests of each hour",
        len(wanted),
        between(dict(counted(rates)), wanted),
        f"{requests.total():,} requests",
    )


def _sums(records: list[Any], truth: Truth) -> Check:
    parts = [HourPart.from_bytes(record.value) for record in records]
    contents: dict[bytes, set[bytes]] = {}
    for record in records:
        contents.setdefault(record.key, set()).add(record.value)
    forked = [
        f"{k.decode()} was published with {len(v)} contents"
        for k, v in contents.items()
        if len(v) > 1
    ]
    wrong = between(
        {key: _bits(tally) for key, tally in hour_sums(parts).items()},
        {key: _bits(tally) for key, tally in truth.sums.items()},
    )
    note = f"{len(records):,} parts, {len(records) - len(contents):,} of them published again"
    return Check("sums of each hour, to the bit", len(truth.sums), (*wrong, *forked), note)


def _bits(tally: Tally) -> tuple[Any, ...]:
    sketch = tally.sketch
    arrays = (sketch.group_counts, sketch.sums, sketch.lengths, sketch.histogram)
    exact = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    return sketch.rows, tally.windows, tally.alarms, tally.late, sketch.time_range, exact


def _rates(records: list[Any], truth: list[Any]) -> Check:
    """Compare the last record of each key, as compaction keeps it, except for the revision.

    If a wall clock closed hours early, the same rows came in more parts.
    """

    def rows(of: list[Any]) -> dict[str, Any]:
        newest = {r.key.decode(): orjson.loads(r.value)["data"] for r in of}
        return {k: {n: v for n, v in row.items() if n != "revision"} for k, row in newest.items()}

    wanted, back = rows(truth), _going_back(records)
    return Check("latest rates, to the byte", len(wanted), (*between(rows(records), wanted), *back))


def _going_back(records: list[Any]) -> Iterator[str]:
    """Yield the keys whose last record has a lower revision than an earlier one."""
    highest: dict[bytes, int] = {}
    last: dict[bytes, int] = {}
    for record in records:
        revision = orjson.loads(record.value)["data"]["revision"]
        highest[record.key] = max(revision, highest.get(record.key, 0))
        last[record.key] = revision
    for key, revision in last.items():
        if revision < highest[key]:
            yield f"{key.decode()}: revision {revision} comes after {highest[key]}"


def _flagged(records: list[Any], truth: list[Any]) -> Check:
    def flagged(of: list[Any]) -> dict[Any, Any]:
        newest: dict[Any, Any] = {}
        for record in of:
            data = orjson.loads(record.value)["data"]
            newest[record.key.decode(), data["partition"], data["offset"]] = data
        return {key: data for key, data in newest.items() if data["status"] == "flagged"}

    wanted = flagged(truth)
    return Check("flagged requests", len(wanted), between(flagged(records), wanted))


def _alerts(records: list[Any], truth: list[Any]) -> Check:
    """Compare every state of every alert, by the id of its event, to the byte."""

    def events(of: list[Any]) -> dict[str, bytes]:
        return {orjson.loads(r.value)["id"]: r.value for r in of}

    wanted = events(truth)
    ids = {orjson.loads(r.value)["data"]["id"] for r in truth}
    again = len(records) - len(events(records))
    note = f"{len(ids)} alerts, {again} records published again"
    return Check(
        "states of alerts, to the byte", len(wanted), between(events(records), wanted), note
    )


def _changes(records: list[Any], truth: list[Any]) -> Check:
    """Compare what a subscriber reports, each change of status or severity once."""
    reported, wanted = _reported(records), _reported(truth)
    return Check("changes that a subscriber reports", wanted.total(), between(reported, wanted))


def _reported(records: list[Any]) -> Counter[str]:
    announced, reported = Announced(), Counter[str]()
    for record in records:
        state = alert_state(record.value, record.headers)
        if state is not None and (news := announced.pending(state)) is not None:
            reported[news.idempotency_key] += 1
        if state is not None:
            announced.add(state)
    return reported


def _dead_letters(records: list[Any], refused: Mapping[tuple[int, int], str]) -> Check:
    found: dict[tuple[int, int], str] = {}
    for record in records:
        headers = {name: value.decode() for name, value in record.headers if value is not None}
        place = headers["latentwatch-partition"], headers["latentwatch-offset"]
        found[int(place[0]), int(place[1])] = headers["latentwatch-reason"]
    note = f"{len(records) - len(found)} published again"
    return Check("dead letters", len(refused), between(found, refused), note)


def between(found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> tuple[str, ...]:
    """Describe what differs; the first few items in full."""
    texts = [f"{key}: missing" for key in wanted if key not in found]
    texts += [f"{key}: not expected" for key in found if key not in wanted]
    for key in wanted:
        if key in found and found[key] != wanted[key]:
            texts.append(f"{key}: {_short(found[key])} instead of {_short(wanted[key])}")
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return (*texts[:SHOWN], *more)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 200 else f"{text[:200]}..."
