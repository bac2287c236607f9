"""CloudEvents of KServe's inference logger whose responses carry layers as outputs."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.importers.cloudevents import read_cloudevents
from latentwatch.stream.importers.events import Event, NotImportedError, Summary, time_ns_of
from latentwatch.stream.importers.outputs import Outputs, parse_json

__all__ = ["Service", "read_kserve"]

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"


@dataclass(frozen=True, slots=True)
class Service:
    """Which events are wanted.

    Parameters
    ----------
    name : str, optional
        The ``inferenceservicename``; needed where a folder has several.
    component : str
        ``predictor``, ``transformer`` or ``explainer``: each of them logs what passes it, under
        the same id. Events that do not say are taken.
    """

    name: str | None = None
    component: str = "predictor"


@dataclass(frozen=True, slots=True)
class _Logged:
    """An event of the logger, without its data."""

    place: str
    kind: str
    id: str
    time_ns: int


def read_kserve(
    path: Path, outputs: Outputs, summary: Summary, service: Service | None = None
) -> Iterator[Event]:
    """Read responses from a file or folder, each paired with its request by ``id``.

    The time of an event is that of the request, where it was logged, or else of the response. Of
    several requests in a response, the n-th from 0 on is named ``<id>/<n>``. Where the request
    was logged, its file and line are the `input_ref`.

    Raises
    ------
    RecordingError
        Events of several inference services, and none was chosen.
    """
    service = service or Service()
    names: set[str] = set()
    requests: dict[str, _Logged] = {}
    responses: list[tuple[_Logged, Event]] = []
    for place, event in read_cloudevents(path, summary):
        try:
            _check_wanted(event, service, names)
            logged = _Logged(place, event["type"], *_identity(event))
            if logged.kind == REQUEST:
                requests.setdefault(logged.id, logged)
            else:
                responses.append((logged, _response(event, logged, outputs)))
        except NotImportedError as error:
            summary.skip(error.reason, place, error.detail)
    yield from _paired(requests, responses, summary)


def _check_wanted(event: dict[str, Any], service: Service, names: set[str]) -> None:
    """Refuse events that are not of the service, or not of the inference logger at all."""
    if event.get("type") not in (REQUEST, RESPONSE):
        kind = str(event.get("type"))[:80]
        raise NotImportedError("other event", f"type {kind!r} is not of the inference logger")
    name = str(event.get("inferenceservicename", ""))
    if service.name not in (None, name):
        raise NotImportedError("other service", f"{name or 'an unnamed one'}, see --service")
    names.add(name)
    if len(names) > 1:
        listed = ", ".join(sorted(names))
        raise RecordingError(
            f"{listed}: these are several inference services; choose one with --service"
        )
    component = event.get("component") or service.component
    if component != service.component:
        raise NotImportedError("other component", f"{str(component)[:40]}, see --component")


def _identity(event: dict[str, Any]) -> tuple[str, int]:
    name = event.get("id")
    if not isinstance(name, str) or not name:
        raise NotImportedError("no id", "a CloudEvent without an id")
    return name, time_ns_of(event.get("time"))


def _response(event: dict[str, Any], logged: _Logged, outputs: Outputs) -> Event:
    layers, predicted = outputs.read(_data(event))
    rows, name = len(predicted), logged.id
    return Event(
        place=logged.place,
        time_ns=logged.time_ns,
        event_id=name,
        source=str(event.get("source") or "/import/kserve"),
        request_ids=(name,) if rows == 1 else tuple(f"{name}/{row}" for row in range(rows)),
        layers=layers,
        predicted=predicted,
    )


def _data(event: dict[str, Any]) -> Any:
    """The body of a response: a JSON value, or JSON in a string or in base64."""
    if "data_base64" in event:
        try:
            return parse_json(b64decode(event["data_base64"], validate=True))
        except (binascii.Error, TypeError, ValueError):
            raise NotImportedError("not base64", "data_base64 is not base64") from None
    if "data" not in event:
        raise NotImportedError("no output", "a response without data")
    data = event["data"]
    return parse_json(data) if isinstance(data, str) else data


def _paired(
    requests: dict[str, _Logged], responses: list[tuple[_Logged, Event]], summary: Summary
) -> Iterator[Event]:
    for logged, event in responses:
        request = requests.get(logged.id)
        if request is None:
            yield event
            continue
        ref = "#L".join(request.place.rsplit(":", 1))
        yield replace(event, time_ns=request.time_ns, input_ref=ref)
    answered = {logged.id for logged, _ in responses}
    for name, request in requests.items():
        if name not in answered:
            summary.skip("request alone", request.place, "no response with a layer has its id")
