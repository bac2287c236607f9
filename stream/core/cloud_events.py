"""CloudEvents 1.0 in structured mode: envelope, types of members, and strict reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from latentwatch.stream.core.errors import EventError
from latentwatch.stream.core.times import timestamp

__all__ = ["CONTENT_TYPE", "CloudEvent", "Count", "Number", "Record", "Reference", "Text", "Time"]

CONTENT_TYPE = ("content-type", b"application/cloudevents+json; charset=utf-8")

# the wire format refuses control characters too: they would forge lines of logs and reports
_PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"
Text = Annotated[str, Field(max_length=1000, pattern=_PLAIN)]
Reference = Annotated[str, Field(max_length=4000, pattern=_PLAIN)]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Record(NamedTuple):
    """One record to produce."""

    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    route: bytes | None = None
    """What chooses the partition, where it is not the key."""


class CloudEvent:
    """Base of the events that are CloudEvents: writes the envelope, reads and checks it.

    Subclasses are frozen dataclasses whose fields are the members of ``data``, in their order.
    """

    __slots__ = ()

    KIND: ClassVar[str]

    @classmethod
    def from_json(cls, event: bytes | Mapping[str, Any]) -> Self:
        """Read an event: the value of a record, or its parsed JSON.

        Raises
        ------
        EventError
            It is another event, or a member is missing or wrong.
        """
        of: Any = cls
        try:
            content = orjson.loads(event) if isinstance(event, bytes) else event
            kind, data = content.get("type", _type(cls.KIND)), content["data"]
            if kind != _type(cls.KIND):
                raise ValueError(f"its type is {str(kind)[:100]!r}, not {_type(cls.KIND)!r}")
            found: Self = _adapter(of).validate_json(orjson.dumps(data), strict=True)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)[0]
            member = ".".join(map(str, wrong["loc"]))[:200] or "data"
            raise cls._error(f"{member}: {wrong['msg']}") from None
        except (orjson.JSONDecodeError, LookupError, AttributeError) as error:
            raise cls._error(f"not a JSON CloudEvent ({error!r})") from error
        except (ValueError, TypeError) as error:
            raise cls._error(str(error)) from error
        return found

    @classmethod
    def _error(cls, text: str) -> EventError:
        return EventError(
            f"invalid {cls.KIND} event: {text}. Use events as the worker publishes them, "
            "see asyncapi.yaml"
        )

    def data(self) -> dict[str, Any]:
        """The members of the event's data, as plain values."""
        return asdict(self)  # type: ignore[call-overload]  # subclasses are dataclasses

    def record(self, topic: str, key: str, *, source: str, id_: str, time_ns: int) -> Record:
        """The record that publishes it."""
        event = {
            "specversion": "1.0",
            "type": _type(self.KIND),
            "source": source,
            "id": id_,
            "time": timestamp(time_ns),
            "datacontenttype": "application/json",
            "data": self.data(),
        }
        return Record(topic, key.encode(), orjson.dumps(event), [CONTENT_TYPE])


def _type(kind: str) -> str:
    return f"io.latentwatch.{kind}.v1"


@cache
def _adapter(event: Any) -> TypeAdapter[Any]:
    return TypeAdapter(event)
