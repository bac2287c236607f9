"""What runs inside an inference service: capture activations, publish them to Kafka.

Capture and publishing in ten lines::

    from latentwatch.producers import BackgroundPublisher, capture

    with (
        capture(model, include_regex=r"^layer[14]$") as activations,
        BackgroundPublisher("kafka:9092", model="signs", version="3") as publisher,
    ):
        for images, request_ids in requests:
            logits = model(images)
            predicted = logits.argmax(1).cpu().numpy()
            publisher.publish(activations.read(), predicted, request_ids=request_ids)

torch and aiokafka are imported on first use, so reading and writing messages needs only numpy and
orjson. `latentwatch.producers.prometheus` has the metrics of a publisher; it is never imported
from here, because it needs the extra ``metrics``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from latentwatch.producers.capture import capture
from latentwatch.producers.errors import (
    CaptureError,
    EncodeError,
    ProducerError,
    PublisherError,
    WireError,
)
from latentwatch.producers.wire import ActivationBatch, Limits, Message, Reason, decode, encode

if TYPE_CHECKING:
    from latentwatch.producers.publisher import ActivationPublisher, BackgroundPublisher, Counters

__all__ = [
    "ActivationBatch",
    "ActivationPublisher",
    "BackgroundPublisher",
    "CaptureError",
    "Counters",
    "EncodeError",
    "Limits",
    "Message",
    "ProducerError",
    "PublisherError",
    "Reason",
    "WireError",
    "capture",
    "decode",
    "encode",
]

_LAZY = {"ActivationPublisher", "BackgroundPublisher", "Counters"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module("latentwatch.producers.publisher"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
