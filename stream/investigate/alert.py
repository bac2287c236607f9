"""The alert to investigate: the latest state in a file of events or in Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from latentwatch.stream.core.errors import EventError, InvestigationError
from latentwatch.stream.core.events import AlertEvent

__all__ = ["AnyAlert", "ClientAlert", "WindowAlert", "alert_in_file", "newest_alert", "parse"]


_SAME = (
    "id", "status", "severity", "model", "version", "partition", "fired_at", "score", "threshold",
    "average_run_length", "baseline_sha256",
)  # fmt: skip
_OF_WINDOW = ("requests", "first_offset", "last_offset", "first_ns", "last_ns")


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
class WindowAlert(_Common):
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
    def of(cls, event: AlertEvent) -> WindowAlert:
        """From a published event; `ValueError` if it lacks a figure that windows have."""
        contamination, bound = event.contamination, event.contamination_lower_bound
        if event.p_value is None or contamination is None or bound is None:
            raise ValueError(
                "its p_value or contamination is null. Pass alerts as workers write them"
            )
        return cls(
            **_common(event),
            pattern=event.pattern,
            p_value=event.p_value,
            contamination=contamination,
            contamination_lower_bound=bound,
            statistics={name: asdict(values) for name, values in event.layers.items()},
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
    def of(cls, event: AlertEvent) -> ClientAlert:
        """From a published event; `ValueError` if it names no client."""
        if event.client is None:
            raise ValueError("it names no client. Pass alerts as workers write them")
        return cls(**_common(event), client=event.client)


AnyAlert = WindowAlert | ClientAlert


def parse(event: bytes, where: str) -> AnyAlert:
    """Read a CloudEvent of the alerts topic; `InvestigationError` on anything else."""
    try:
        read = AlertEvent.from_json(event)
        return ClientAlert.of(read) if read.about_client else WindowAlert.of(read)
    except (EventError, ValueError) as error:
        raise InvestigationError(
            f"{where} has an event that is not an alert of this version: {error}"
        ) from error


def _common(event: AlertEvent) -> dict[str, Any]:
    """The fields of `_Common`."""
    window = event.window
    return {
        **{name: getattr(event, name) for name in _SAME},
        **{name: getattr(window, name) for name in _OF_WINDOW},
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
