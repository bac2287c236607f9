"""The latest record of each key in the output topics, gathered as any subscriber would."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentwatch.stream.core.topic_names import Topics

__all__ = ["Outputs", "output_roles"]

Data = dict[str, Any]

_NO_ROW = {"requests": 0}


def output_roles(topics: Topics) -> dict[str, str]:
    """What each output topic is for, by its name; see `Outputs.take`."""
    roles = ("alerts", "detection_rates", "flagged_requests")
    return {getattr(topics, role): role for role in roles}


@dataclass(slots=True)
class Outputs:
    """Data of the CloudEvents of the three output topics.

    Parameters
    ----------
    layers : tuple of str
        Layers that have a row for each hour; only `counted` needs them.
    alerts : list of dict
        Every state, in order; see `latest_alerts`.
    rates : dict
        Latest revision by (model, version, layer, hour).
    flagged : dict
        Requests that are flagged and were not withdrawn, by (model, version, request id,
        partition, offset).
    """

    layers: tuple[str, ...] = ()
    alerts: list[Data] = field(default_factory=list)
    rates: dict[tuple[str, str, str, str], Data] = field(default_factory=dict)
    flagged: dict[tuple[str, str, str, int, int], Data] = field(default_factory=dict)

    def take(self, role: str, data: Data) -> None:
        """Take in the data of one event of the topic for ``role``."""
        if role == "alerts":
            self.alerts.append(data)
        elif role == "detection_rates":
            self._take_rate(data)
        elif role == "flagged_requests":
            place = (data["request_id"], data["partition"], data["offset"])
            key = (data["model"], data["version"], *place)
            if data["status"] == "flagged":
                self.flagged[key] = data
            else:
                self.flagged.pop(key, None)

    def _take_rate(self, row: Data) -> None:
        key = (row["model"], row["version"], row["layer"], row["hour"])
        if key not in self.rates or row["revision"] >= self.rates[key]["revision"]:
            self.rates[key] = row

    @property
    def latest_alerts(self) -> dict[str, Data]:
        """Latest state of each alert by id, in the order in which they fired."""
        return {alert["id"]: alert for alert in self.alerts}

    @property
    def flagged_ids(self) -> set[str]:
        """Ids of the flagged requests."""
        return {request_id for _, _, request_id, _, _ in self.flagged}

    @property
    def hour_names(self) -> set[str]:
        """Hours that have a row."""
        return {hour for _, _, _, hour in self.rates}

    def hours(self, layer: str) -> list[Data]:
        """Rows of one layer, by hour; of one model version."""
        return [row for key, row in sorted(self.rates.items()) if key[2] == layer]

    def row(self, layer: str, hour: str) -> Data | None:
        """Row of one layer and hour, of one model version; None if it has not arrived."""
        return next((row for key, row in self.rates.items() if key[2:] == (layer, hour)), None)

    @property
    def counted(self) -> int:
        """Requests that hours account for in every layer.

        The rows of an hour lie in several partitions, so one layer's may arrive before the others'.
        """
        return sum(
            min((self.row(layer, hour) or _NO_ROW)["requests"] for layer in self.layers)
            for hour in self.hour_names
        )

    @property
    def is_consistent(self) -> bool:
        """Whether all flagged requests that the hours announce have arrived."""
        announced = {key[3]: row["flagged"] for key, row in self.rates.items()}
        return len(self.flagged) >= sum(announced.values())
