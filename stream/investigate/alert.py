"""The alert to investigate: the latest state in a file of events or in Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from latentwatch.stream.core.errors import InvestigationError
from latentwatch.stream.core.times import parse_timestamp

__all__ = ["AlertEvent", "AnyAlert", "ClientAlert", "alert_in_file", "newest_alert", "parse"]


@dataclass(frozen=True, slots=True)
class _Common:
    """Fields that alerts about windows and about clients share.

    Parameters
    ----------
    id, status, severity : str
    model, version : str
    partition : int
        Of the activations topic.
    requests : int
        Length of the window, a multiple of 32; or the client's queries since the most likely
        start, without retries.
    first_offset, last_offset : int
        Messages with the first and the last of them.
    first_ns, last_ns : int
        Earliest and latest event time in the window, or of the client's first and last query;
        nanoseconds since 1970, UTC.
    fired_at : str
        RFC 3339.
    score, threshold : float
        Of the window; or the evidence about the client and its threshold.
    average_run_length : float
        Benign requests between two false alarms, from the worker's settings.
    baseline_sha256 : str
    """

    id: str
    status: str
    severity: str
    model: str
    version: str
    partition: int
    requests: int
    first_offset: int
    last_offset: int
    first_ns: int
    last_ns: int
    fired_at: str
    score: float
    threshold: float
    average_run_length: float
    baseline_sha256: str

    @property
    def lane(self) -> str:
        """Model version and partition, for people."""
        return f"{self.model}/{self.version} on partition {self.partition}"


@dataclass(frozen=True, slots=True)
class AlertEvent(_Common):
    """Alert about a window, the one with the highest score since it fired.

    Parameters
    ----------
    pattern : str
    p_value : float
    contamination, contamination_lower_bound : float
    statistics : dict
        T, E and score by view.
    """

    pattern: str
    p_value: float
    contamination: float
    contamination_lower_bound: float
    statistics: dict[str, dict[str, float]]

    @classmethod
    def of(cls, data: dict[str, Any]) -> AlertEvent:
        """Read from the data of the event."""
        plain = "pattern p_value contamination contamination_lower_bound"
        return cls(
            **_common(data),
            **{name: data[name] for name in plain.split()},
            statistics=data["layers"],
        )


@dataclass(frozen=True, slots=True)
class ClientAlert(_Common):
    """Alert about a client who appears to copy the model, at their latest alarm.

    Parameters
    ----------
    client : str
        Chosen by anyone who can publish, so not trustworthy.
    """

    client: str

    @classmethod
    def of(cls, data: dict[str, Any]) -> ClientAlert:
        """Read from the data of the event."""
        return cls(**_common(data), client=str(data["client"]))


AnyAlert = AlertEvent | ClientAlert


def parse(event: bytes, where: str) -> AnyAlert:
    """Read a CloudEvent of the alerts topic; `InvestigationError` on anything else."""
    try:
        data = orjson.loads(event)["data"]
        about_client = data["pattern"] == "extraction"
        return ClientAlert.of(data) if about_client else AlertEvent.of(data)
    except (ValueError, LookupError, TypeError) as error:
        raise InvestigationError(
            f"{where} has an event that is not an alert of this version ({error!r}): pass alerts "
            "as the worker publishes them, one CloudEvent per line"
        ) from error


def _common(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of `_Common`."""
    window = data["window"]
    (place,) = window["offsets"]
    plain = (
        "id status severity model version partition fired_at score threshold average_run_length "
        "baseline_sha256"
    )
    return {
        **{name: data[name] for name in plain.split()},
        "requests": window["requests"],
        "first_offset": place["first"],
        "last_offset": place["last"],
        "first_ns": parse_timestamp(window["first_event_time"]),
        "last_ns": parse_timestamp(window["last_event_time"]),
    }


def newest_alert(wanted: str, records: Iterable[tuple[str, bytes]], where: str) -> AnyAlert:
    """The latest of the records (id, event) whose id equals, or begins with, `wanted`.

    Raises
    ------
    InvestigationError
        No alert, or several alerts, match.
    """
    latest = dict(records)
    if wanted in latest:
        return parse(latest[wanted], where)
    found = [name for name in latest if name.startswith(wanted)]
    if not found:
        listed = ", ".join(list(latest)[-5:]) or "none"
        raise InvestigationError(f"{where} has no alert {wanted!r}; the latest ones are: {listed}")
    if len(found) > 1:
        raise InvestigationError(
            f"{len(found)} alerts of {where} begin with {wanted!r}: {', '.join(sorted(found))}; "
            "give more of the id"
        )
    return parse(latest[found[0]], where)


def alert_in_file(wanted: str, path: Path) -> AnyAlert:
    """The latest state of an alert in a file of JSON lines, one CloudEvent each."""

    def records() -> Iterable[tuple[str, bytes]]:
        with path.open("rb") as lines:
            for line in lines:
                if line.strip():
                    yield str(_id_of(line, path)), line

    return newest_alert(wanted, records(), str(path))


def _id_of(line: bytes, path: Path) -> Any:
    read: Callable[[bytes], Any] = orjson.loads
    try:
        return read(line)["data"]["id"]
    except (ValueError, LookupError, TypeError) as error:
        raise InvestigationError(
            f"{path} has a line that is not an event ({error!r}): pass one CloudEvent per line"
        ) from error
