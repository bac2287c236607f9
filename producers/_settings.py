"""The settings of a publisher, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentwatch.producers import _checks as checks
from latentwatch.producers._batch import DEFAULT_LIMITS, LAYER_DTYPES, FloatType
from latentwatch.producers.errors import PublisherError, WireError

_KAFKA_REQUEST_SIZE = 1_048_576


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """The arguments of a publisher, checked, and what follows from them for aiokafka."""

    bootstrap_servers: str | list[str]
    model: str
    version: str
    topic: str
    source: str
    datatype: FloatType
    sampling_rate: float
    max_rows: int
    linger_ms: float
    max_buffered_rows: int
    shard: str | None
    compression: str | None
    kafka: dict[str, Any] = field(default_factory=dict, repr=False)  # may hold passwords

    def __post_init__(self) -> None:
        try:
            checks.check_name("model", self.model, DEFAULT_LIMITS)
            checks.check_name("version", self.version, DEFAULT_LIMITS)
            checks.check_name("topic", self.topic, DEFAULT_LIMITS)
            checks.check_text("source", self.source, DEFAULT_LIMITS.ref_length)
            if self.shard is not None:
                checks.check_name("shard", self.shard, DEFAULT_LIMITS)
        except WireError as error:
            raise PublisherError(error.detail) from None
        if self.datatype not in LAYER_DTYPES:
            raise PublisherError(f"datatype {self.datatype!r}: use {', '.join(LAYER_DTYPES)}")
        _require("sampling_rate", 0.0, self.sampling_rate, 1.0)
        _require("max_rows", 1, self.max_rows, DEFAULT_LIMITS.rows)
        _require("linger_ms", 0.0, self.linger_ms, 60_000.0)
        _require("max_buffered_rows", self.max_rows, self.max_buffered_rows, float("inf"))

    @property
    def client_options(self) -> dict[str, Any]:
        """Options of the aiokafka producer; the user's own options take precedence."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": f"latentwatch-{self.model}",
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": self.compression,
            # aiokafka logs every attempt; its default would log ten lines per second
            "retry_backoff_ms": 1000,
            "max_batch_size": _KAFKA_REQUEST_SIZE * 3 // 4,
            **self.kafka,
        }

    @property
    def max_values(self) -> int:
        """Activation values in one message; leaves a quarter of the request to ids and links."""
        request_size = int(self.kafka.get("max_request_size", _KAFKA_REQUEST_SIZE))
        return request_size * 3 // 4 // LAYER_DTYPES[self.datatype].itemsize


def _require(what: str, least: float, value: float, most: float) -> None:
    if not least <= value <= most:  # false for NaN as well
        raise PublisherError(f"{what} is {value}: use {least} to {most}")
