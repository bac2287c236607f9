"""The demo's dashboard: a child process, and pictures of the attacked signs for it."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console

from latentwatch.stream.cli.extras import missing
from latentwatch.stream.processes.child import Child
from latentwatch.stream.settings import Settings

__all__ = ["InputFiles", "open_in_browser", "running_dashboard"]

SAMPLE_SECONDS = 0.2
"""Short, because the demo plays an hour in seconds."""

START_SECONDS = 30.0

SAYS = "the dashboard is at "


@contextmanager
def running_dashboard(settings: Settings, out: Path, console: Console) -> Iterator[str]:
    """Run it and yield its address; if it cannot run, an empty one, with the reason on the console.

    Parameters
    ----------
    settings : Settings
        Settings of the demo's worker.
    out : Path
        Folder of the results; an earlier demo's history in it is deleted.
    console : Console
    """
    if absent := missing("dashboard"):
        names = ", ".join(absent)
        console.print(f"no dashboard, which needs {names}: pip install 'latentwatch\\[dashboard]'")
        yield ""
        return
    for old in out.glob("dashboard.sqlite*"):
        old.unlink()
    log = out / "dashboard.log"
    with Child.of_latentwatch(_command(settings, out), log, settings.environment()) as child:
        url = _address(child)
        console.print(f"{SAYS}{url}" if url else f"no dashboard: {log} says why")
        yield url


def _command(settings: Settings, out: Path) -> list[str]:
    inputs = out / "inputs"
    inputs.mkdir(exist_ok=True)
    worker = f"http://{settings.metrics_host}:{settings.metrics_port}"
    return [
        *("dashboard", "--host=127.0.0.1", "--port=0"),
        *(f"--history={out / 'dashboard.sqlite'}", f"--inputs={inputs}"),
        *(f"--worker={worker}", f"--sample-seconds={SAMPLE_SECONDS}"),
    ]


def _address(child: Child) -> str:
    """The address that it logs when it listens; empty if it ends, or stays silent for long."""
    deadline = time.monotonic() + START_SECONDS
    while child.is_running and time.monotonic() < deadline:
        for line in child.log.read_text(errors="replace").splitlines():
            if line.startswith(SAYS) and line.endswith("/"):
                return line.removeprefix(SAYS)
        time.sleep(0.1)
    return ""


def open_in_browser(url: str, console: Console) -> None:
    """Open a page if somebody can see it: on a terminal with a display, and not in CI."""
    has_display = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if console.is_terminal and has_display and not os.environ.get("CI"):
        webbrowser.open(url)


class InputFiles:
    """Writes pictures of the attacked signs to their input references, as they are played.

    Parameters
    ----------
    out : Path
        Folder of the player's truth.jsonl and examples.npz, and of the pictures; those of an
        earlier demo are deleted.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._truth, self._examples = out / "truth.jsonl", out / "examples.npz"
        for old in (self._truth, self._examples):
            old.unlink(missing_ok=True)
        self._read = 0
        self._pictures: dict[str, Any] = {}

    def write_new(self) -> None:
        """Write those of the requests that were played since the last call."""
        if not self._truth.exists():
            return
        if not self._pictures and self._examples.exists():
            with np.load(self._examples) as arrays:
                names = arrays["request_id"].tolist()
                self._pictures = dict(zip(names, arrays["adversarial"], strict=True))
        with self._truth.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            row = orjson.loads(line)
            if row["adversarial"] and row["request_id"] in self._pictures:
                self._write(row["input_ref"], self._pictures[row["request_id"]])

    def _write(self, reference: str, pixels: Any) -> None:
        from PIL import Image

        # the reference itself is the path; its bytes, no suffix, say that it is a PNG
        path = self._out / "inputs" / reference
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, format="png")
