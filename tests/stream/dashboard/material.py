"""Records of the output topics, as a consumer returns them."""

from dataclasses import dataclass, field
from typing import Any

import orjson

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"

NAME = {"model": "signs", "version": "1"}


@dataclass
class Record:
    """The fields of a consumer's record that the dashboard reads."""

    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    timestamp: int = 1_767_607_400_000
    topic: str = "topic"
    partition: int = 0
    offset: int = 0


def event(data: dict[str, Any], **more: Any) -> Record:
    """A CloudEvent."""
    return Record(orjson.dumps({"data": data}), **more)


def suspect(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": f"request-{number}", "p_value": 0.001, "energy": 100.0 - number,
        "predicted_class": 4, "event_time": "2026-01-05T10:01:12.000000000Z", "partition": 0,
        "offset": 25, "input_ref": f"{number}.png", **changes,
    }  # fmt: skip


def alert(id_: str = "a" * 32, minute: int = 2, status: str = "firing", **changes: Any) -> Record:
    """A state of an alert."""
    data = {
        "id": id_, "status": status, "severity": "warning", **NAME, "partition": 0,
        "fired_at": "2026-01-05T10:02:40.828882294Z", "fired_at_offset": 25,
        "last_seen_at": f"2026-01-05T10:{minute:02d}:50.000000000Z",
        "window": {
            "requests": 64, "first_event_time": "2026-01-05T10:00:00.295170008Z",
            "last_event_time": "2026-01-05T10:02:40.828882294Z",
            "offsets": [{"partition": 0, "first": 24, "last": 25}],
        },
        "average_run_length": 1_000_000, "score": 9.28, "threshold": 7.47, "p_value": 0.00025,
        "pattern": "adversarial", "contamination": 0.219, "contamination_lower_bound": 0.012,
        "layers": {"deep": {"T": 1.4, "E": 1181.5, "score": 9.28}},
        "most_suspicious": [suspect(0), suspect(1, input_ref=None)],
        "baseline_sha256": "80" * 32, "atlas_technique": "AML.T0043", "software_version": "0.1.0",
        **changes,
    }  # fmt: skip
    return event(data)


def extraction(id_: str = "e" * 32, client: str = "u7", **changes: Any) -> Record:
    """A state of an alert about a client that extracts the model."""
    nothing = dict.fromkeys(("p_value", "contamination", "contamination_lower_bound"))
    return alert(id_, **{
        **nothing, "pattern": "extraction", "client": client, "score": 14212.8,
        "threshold": 10_000.0, "layers": {}, "most_suspicious": [],
        "atlas_technique": "AML.T0024.002", **changes,
    })  # fmt: skip


def rate(hour: int = 10, layer: str = "deep", revision: int = 1, **changes: Any) -> Record:
    """A row of an hour."""
    data = {
        **NAME, "layer": layer, "hour": f"2026-01-05T{hour:02d}:00:00Z", "status": "ok",
        "requests": 1600, "unjudged": 0, "repeated": 0, "late": 0, "revision": revision,
        "flagged": 269, "detection_rate": 0.168, "windows": 50, "alarms": 49,
        "baseline_sha256": "80" * 32, "contamination": 0.296, "contamination_lower_bound": 0.248,
        "T": 2.24, "E": 1181.0, "score": 80.1, "p_value": 0.00025, **changes,
    }  # fmt: skip
    return event(data)


def flagged(number: int = 0, status: str = "flagged", **changes: Any) -> Record:
    """A flagged request."""
    return event(
        {**NAME, "hour": "2026-01-05T10:00:00Z", "status": status, **suspect(number), **changes}
    )


def letter(offset: int = 0, reason: str = "bad-length", **changes: Any) -> Record:
    """A dead letter."""
    headers = [
        ("latentwatch-reason", b"forged"),  # the refused message's own headers come first
        ("latentwatch-reason", reason.encode()),
        ("latentwatch-detail", b"the value is too short"),
    ]
    key = f"activations/0/{offset}".encode()
    return Record(**{"value": bytes(range(256)) * 4, "key": key, "headers": headers, **changes})
