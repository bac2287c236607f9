"""Child processes end when they are asked to, when they are killed, and when their parent dies."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from latentwatch.stream.processes.child import Child

SLEEPS = "import os, time; print(os.environ['WHO'], flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
PATIENCE_SECONDS = 20.0


def start(log: Path, code: str = SLEEPS, *, append: bool = False) -> Child:
    """Start a program, and wait until it has written its first line."""
    before = log.stat().st_size if append else 0
    child = Child(["-c", code], log, {"WHO": "me"}, append=append)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while log.stat().st_size == before and time.monotonic() < deadline:
        time.sleep(0.01)
    return child


def program_of(child: Child) -> psutil.Process:
    (own,) = psutil.Process(child.guard_pid).children()
    return own


def test_it_runs_with_its_environment_and_log_until_it_is_stopped(tmp_path: Path) -> None:
    with start(tmp_path / "log") as child:
        assert child.is_running
        assert child.exit_code is None
        assert child.tail() == "me\n"
        assert child.tail(1) == "\n"
    assert child.exit_code == 128 + signal.SIGTERM
    child.kill()  # harmless


def test_the_log_is_replaced_unless_it_is_to_be_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for append, expected in ((False, "me\n"), (True, "me\nme\n"), (False, "me\n")):
        with start(log, append=append) as child:
            assert child.tail() == expected


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether something holds within some seconds: a signal takes its time on a busy machine."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_paused_child_can_be_resumed_stopped_and_killed(tmp_path: Path) -> None:
    with start(tmp_path / "log") as child:
        own = program_of(child)
        child.pause()
        assert wait_until(lambda: own.status() == psutil.STATUS_STOPPED)
        child.resume()
        assert wait_until(lambda: own.status() != psutil.STATUS_STOPPED)
        child.pause()
    assert not child.is_running
    other = start(tmp_path / "other")
    other.pause()
    other.kill()
    assert not other.is_running


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child = start(tmp_path / "log", STUBBORN)
    own = program_of(child)
    child.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)
    assert child.stop(0.2) == -signal.SIGKILL
    own.wait(PATIENCE_SECONDS)


def test_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from pathlib import Path; import time;"
            "from latentwatch.stream.processes.child import Child;"
            f"c = Child(['-c', {SLEEPS!r}], Path({str(log)!r}), {{'WHO': 'me'}});"
            "print(c.guard_pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        guard = psutil.Process(int(parent.stdout.readline()))
        while not log.exists() or not log.stat().st_size:
            time.sleep(0.01)
        (own,) = guard.children()
        parent.kill()
    own.wait(PATIENCE_SECONDS)
    guard.wait(PATIENCE_SECONDS)
