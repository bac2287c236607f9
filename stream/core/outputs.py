"""What the output topics say, gathered record by record as any subscriber would."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outputs"]

_NO_ROW = {"requests": 0}


@dataclass(slots=True)
class Outputs:
    """Data of the CloudEvents of the three output topics.

    Parameters
    ----------
    layers : tuple of str
        Layers that each hour has a row of.
    alerts : list of dict
        Every state, in order.
    rates : dict
        Newest revision by (layer, hour).
    flagged : dict
        By request id.
    """

    layers: tuple[str, ...]
    alerts: list[dict[str, Any]] = field(default_factory=list)
    rates: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    flagged: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take_rate(self, row: dict[str, Any]) -> None:
        """Keep the newest revision."""
        key = (row["layer"], row["hour"])
        if key not in self.rates or row["revision"] >= self.rates[key]["revision"]:
            self.rates[key] = row

    def hours(self, layer: str) -> list[dict[str, Any]]:
        """Rows of one layer, by hour."""
        return [row for (name, _), row in sorted(self.rates.items()) if name == layer]

    @property
    def counted(self) -> int:
        """Requests that hours account for in every layer.

        The rows of an hour lie in several partitions: one layer's may come before the others'.
        """
        return sum(
            min(self.rates.get((layer, hour), _NO_ROW)["requests"] for layer in self.layers)
            for hour in {hour for _, hour in self.rates}
        )

    @property
    def is_consistent(self) -> bool:
        """Whether all flagged requests that the hours announce have arrived."""
        announced = {hour: row["flagged"] for (_, hour), row in self.rates.items()}
        return len(self.flagged) >= sum(announced.values())
