"""Files of other systems, written as those systems document them, and the commands."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from latentwatch.stream.cli.group import Group
from latentwatch.stream.cli.imports import export_group, import_group

Run = Callable[..., Result]

FLOATS = (0.1, -3.4028235e38, 1e-45, 1 / 3, -0.0, 16777217.0, 2.5, 1e-7)
"""Values whose float32 forms show any rounding on the way."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command line; ``OUT`` stands for the folder of the recording."""
    main = Group("latentwatch", commands=[import_group, export_group])

    def run(*arguments: str | Path) -> Result:
        words = [str(tmp_path / "out") if word == "OUT" else str(word) for word in arguments]
        return CliRunner().invoke(main, words, env={"COLUMNS": "200"})

    return run


@pytest.fixture
def names() -> tuple[str, ...]:
    """Options that every import needs."""
    return ("--out", "OUT", "--model", "signs", "--model-version", "7")


@pytest.fixture
def activations() -> Callable[[int, int, int], NDArray[np.float32]]:
    """Rows float32 [n, d] of any seed that decimal forms must not change."""

    def draw(seed: int, rows: int, width: int) -> NDArray[np.float32]:
        values = np.random.default_rng(seed).standard_normal((rows, width)) * 10.0**seed
        values = values.astype(np.float32)
        values.flat[: min(values.size, len(FLOATS))] = FLOATS[: values.size]
        return values

    return draw


@pytest.fixture
def captured() -> Callable[..., bytes]:
    """A line of SageMaker data capture."""

    def line(event: str, time: str, output: Any, encoding: str = "JSON", **changes: Any) -> bytes:
        text = output if isinstance(output, str) else orjson.dumps(output).decode()
        kind = changes.pop("content_type", "application/json")
        data = base64.b64encode(text.encode()).decode() if encoding == "BASE64" else text
        metadata = {"eventId": event, "inferenceTime": time, **changes.pop("metadata", {})}
        record: dict[str, Any] = {
            "captureData": {
                "endpointInput": {
                    "observedContentType": "application/x-image",
                    "mode": "INPUT",
                    "data": "iVBORw0KGgo=",
                    "encoding": "BASE64",
                },
                "endpointOutput": {
                    "observedContentType": kind,
                    "mode": "OUTPUT",
                    "data": data,
                    "encoding": encoding,
                },
            },
            "eventMetadata": metadata,
            "eventVersion": "0",
        }
        for name in changes.pop("without", ()):
            del record["captureData"][name]
        return orjson.dumps(record | changes)

    return line


@pytest.fixture
def logged() -> Callable[..., dict[str, Any]]:
    """An event of KServe's inference logger, in structured mode."""

    def event(kind: str, name: str, time: str, data: Any, **changes: Any) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "type": f"org.kubeflow.serving.inference.{kind}",
            "source": "http://localhost:9081/",
            "id": name,
            "time": time,
            "datacontenttype": "application/json",
            "component": "predictor",
            "endpoint": "",
            "inferenceservicename": "signs",
            "namespace": "default",
            "data": data,
        } | changes

    return event
