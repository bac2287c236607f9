"""The names of the topics, by the part they play."""

import re
from dataclasses import dataclass, fields

__all__ = ["Topics"]

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True)
class Topics:
    """Full names of the topics, prefix included; the attributes are the parts they play.

    Raises
    ------
    ValueError
        If Kafka would refuse a name, or two parts have the same one.
    """

    activations: str
    alerts: str
    flagged_requests: str
    detection_rates: str
    hour_sketches: str
    lane_state: str
    dead_letter: str

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for role in self.roles():
            name = getattr(self, role)
            if not _NAME.fullmatch(name) or name in (".", ".."):
                raise ValueError(
                    f"topic_{role}: {name!r} is not a valid topic name; use 1 to 249 letters, "
                    "digits, dots, underscores and hyphens, the prefix included"
                )
            if name in seen:
                raise ValueError(
                    f"topic_{role} and topic_{seen[name]} are both {name!r}; give each its own name"
                )
            seen[name] = role

    @classmethod
    def roles(cls) -> tuple[str, ...]:
        """Return the parts that topics play, in the order of the attributes."""
        return tuple(field.name for field in fields(cls))
