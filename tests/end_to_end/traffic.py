"""Traffic that matches the baselines of the end-to-end tests, as messages."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentwatch.producers.wire import ActivationBatch, Message, encode

HOUR_NS = 3_600 * 10**9
START_HOUR = 1_714_521_600 // 3_600  # 2024-05-01T00:00:00Z
LAYERS = {"early": 8, "deep": 16}
CLASSES = 3
ROWS = 48

Arrays = tuple[dict[str, NDArray[np.float32]], NDArray[np.int32]]


class Sent(NamedTuple):
    """A message and its partition."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class Traffic:
    """Gaussian classes in two layers; adversarial requests are off the manifold in the deep one."""

    layers: dict[str, int] = field(default_factory=lambda: dict(LAYERS))

    def draw(self, rows: int, rng: np.random.Generator, attacked: int = 0) -> Arrays:
        """Requests, of which the first `attacked` are adversarial."""
        world = np.random.default_rng(5)
        predicted = rng.integers(0, CLASSES, rows)
        activations = {}
        for name, width in self.layers.items():
            means = 2.0 * world.standard_normal((CLASSES, width))
            values = means[predicted] + rng.standard_normal((rows, width))
            activations[name] = values.astype(np.float32)
        activations["deep"][:attacked] += 2.5 * rng.standard_normal((attacked, self.layers["deep"]))
        return activations, predicted.astype(np.int32)

    def message(
        self, model: str, version: str, hour: int, part: int, parts: int, *, attacked: int = 0
    ) -> Message:
        """Message `part` of `parts` that fill an hour evenly; the same arguments, the same bytes.

        Its rows are not whole blocks, so that blocks span messages and hours.
        """
        rows, name = ROWS, f"{model}-{hour}-{part}"
        rng = np.random.default_rng([hour, part, *name.encode()])
        activations, predicted = self.draw(rows, rng, attacked)
        times = np.arange(part * rows, (part + 1) * rows) * (HOUR_NS // (parts * rows))
        return encode(
            ActivationBatch(
                model=model,
                version=version,
                activations=activations,
                predicted=predicted,
                event_time_ns=(START_HOUR + hour) * HOUR_NS + times,
                request_ids=[f"{name}-{row}" for row in range(rows)],
                input_refs=[f"s3://inputs/{name}/{row}" for row in range(rows)],
                clients=[f"client-{row % 7}" if row % 5 else None for row in range(rows)],
                source="/services/test",
                event_id=name,
                time="2024-05-01T00:00:00Z",
            )
        )
