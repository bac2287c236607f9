"""Actions of experiments: send traffic, break something, or poison the source of a baseline.

An action that sends traffic returns when all of it is sent; with ``background: true`` in the
experiment, the next activities run meanwhile. Each stretch of traffic begins at the next full hour
of event time.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from latentwatch.chaos.experiment.material import capture_arguments, fit_arguments, run_to_the_end
from latentwatch.chaos.experiment.system import System, running
from latentwatch.chaos.traffic.errors import ExperimentError
from latentwatch.stream.processes.child import Child

__all__ = [
    "add_worker",
    "fit_poisoned_baseline",
    "kill_broker",
    "kill_worker",
    "pause_worker",
    "replay_recording",
    "restart_broker",
    "resume_worker",
    "resume_workers",
    "send_attack",
    "send_drift",
    "send_traffic",
    "shift_classes",
    "wait_for_requests",
]

Played = dict[str, Any]

FINDINGS = "findings.json"

LOOK_SECONDS = 0.1


def send_traffic(
    requests: int,
    seconds: float = 3600.0,
    run_seconds: float = 0.0,
    dropped: float = 0.0,
    late: float = 0.0,
    skew_seconds: float = 0.0,
    shard: str | None = None,
) -> Played:
    """Send benign requests; return what was played.

    Parameters
    ----------
    requests : int
    seconds : float
        Event time that they spread over.
    run_seconds : float
        Wall-clock time to take; 0 is as fast as possible.
    dropped, late : float
        Share of the messages that are lost, and of those that arrive after all others.
    skew_seconds : float
        Error of the sending service's clock.
    shard : str, optional
        Third part of the message key, for a separate partition.
    """
    options = {
        "requests": requests, "run_seconds": run_seconds, "dropped": dropped, "late": late,
        "skew_seconds": skew_seconds, **({"shard": shard} if shard else {}),
    }  # fmt: skip
    return running().play("benign", seconds, options)


def send_attack(
    method: str,
    share: float,
    requests: int,
    strength: float | None = None,
    begin: float = 0.0,
    until: float = 1.0,
    seconds: float = 3600.0,
    run_seconds: float = 0.0,
) -> Played:
    """Send an attack mixed with benign requests; return what was played.

    Parameters
    ----------
    method : str
        pgd, pgd_targeted, fgsm, deepfool, carlini_l2, square or patch, on any classifier;
        extraction, whose queries all come from one client, the copier, among honest clients;
        feature_match and adaptive_... only on the traffic signs.
    share : float
        Share of adversarial requests between `begin` and `until`, positions in the stretch from
        0 to 1.
    requests : int
        Total, benign ones included.
    strength : float, optional
        In the unit of the method; by default its usual strength.
    seconds, run_seconds : float
        As in `send_traffic`.
    """
    system = running()
    options = _bad(method, share, requests, strength, begin, until, run_seconds)
    if method.startswith("adaptive_"):
        options["baseline"] = system.baseline_file
    return system.play(method, seconds, options)


def send_drift(
    kind: str,
    requests: int,
    strength: int = 2,
    share: float = 1.0,
    begin: float = 0.0,
    until: float = 1.0,
    seconds: float = 3600.0,
    run_seconds: float = 0.0,
) -> Played:
    """Send drifted inputs: noise, blur, brightness, fog or rotation at a strength of 1 to 3."""
    options = _bad(f"drift_{kind}", share, requests, strength, begin, until, run_seconds)
    return running().play(f"drift_{kind}", seconds, options)


def shift_classes(favoured: int, favour: float, requests: int, seconds: float = 3600.0) -> Played:
    """Send benign requests, a share `favour` of them of one class."""
    options = {"requests": requests, "favoured": favoured, "favour": favour}
    return running().play("classes", seconds, options)


def wait_for_requests(requests: int, timeout: float = 180.0) -> float:
    """Wait until `requests` were sent since the warm-up; return the seconds it took.

    For activities that must happen in the middle of traffic that is sent in the background.
    """
    system, begun = running(), time.monotonic()
    while (sent := system.sent()) < requests:
        if time.monotonic() - begun > timeout:
            raise ExperimentError(
                f"only {sent} of {requests} requests were sent within {timeout:g} s: before this "
                "activity, send at least that many with background: true"
            )
        time.sleep(LOOK_SECONDS)
    return round(time.monotonic() - begun, 1)


def _bad(
    kind: str,
    share: float,
    requests: int,
    strength: float | None,
    begin: float,
    until: float,
    run_seconds: float,
) -> dict[str, Any]:
    options: dict[str, Any] = {
        "kind": kind, "share": share, "requests": requests, "begin": begin, "until": until,
        "run_seconds": run_seconds,
    }  # fmt: skip
    return options if strength is None else {**options, "strength": strength}


def replay_recording(url: str, speed: str = "max") -> int:
    """Replay a recording into the topics of the experiment; return how many requests of its model.

    They keep their event times and count in their hours. Whether they are benign is unknown: an
    alert among them is neither expected nor false.
    """
    system = running()
    code, tail = _run(system, "replay", ["replay", url, f"--speed={speed}"])
    if code:
        raise ExperimentError(f"the replay ended with exit code {code}:\n{tail}")
    return system.note_replayed(url)


def _run(system: System, name: str, command: list[str]) -> tuple[int, str]:
    """Run a command of latentwatch to its end; return its exit code and the end of its log."""
    log = system.folder / f"{name}.log"
    with Child.of_latentwatch(command, log, system.settings.environment()) as child:
        return child.wait(), child.tail()


def kill_worker(number: int = 0) -> None:
    """Kill a worker (SIGKILL); workers are numbered from 0 in the order they were started."""
    system = running()
    system.worker(number).kill()
    system.note_fault()


def pause_worker(number: int = 0) -> None:
    """Suspend a worker (SIGSTOP)."""
    system = running()
    system.worker(number).pause()
    system.note_fault()


def resume_worker(number: int = 0) -> None:
    """Resume a paused worker (SIGCONT)."""
    system = running()
    system.worker(number).resume()
    system.note_fault()


def resume_workers() -> None:
    """Resume all workers; harmless if none is paused."""
    for worker in running().workers:
        worker.resume()


def add_worker() -> int:
    """Start another worker; return its number."""
    system = running()
    system.add_worker()
    return len(system.workers) - 1


def kill_broker() -> None:
    """Kill the experiment's own broker (SIGKILL); its data are kept."""
    system = running()
    system.own_broker().kill()
    system.note_fault()


def restart_broker() -> None:
    """Start the experiment's own broker again, with the same data and port."""
    system = running()
    system.own_broker().restart()
    system.note_fault()


def fit_poisoned_baseline(
    method: str, share: float, rows: int = 4000, strength: float | None = None
) -> dict[str, Any]:
    """Fit a baseline on rows of which a share was attacked; the system keeps its own baseline.

    Returns
    -------
    dict
        ``refused``: whether the fit was refused; ``findings`` of the screening, each with its
        ``kind``, ``severity``, ``sentence`` and number of ``rows``; ``poison``: how many rows were
        attacked; ``named``: how many rows the screening names; ``poison_named``: how many of those
        were attacked.
    """
    system = running()
    folder = system.folder / "poisoned"
    folder.mkdir(exist_ok=True)
    bad = round(share * rows)
    found = _fit_screened(system, folder, rows, bad, _poison(method, share, strength))
    system.fittings.append(found)
    return found


def _poison(method: str, share: float, strength: float | None) -> list[str]:
    options = [f"--kind={method}", f"--share={share}"]
    return options if strength is None else [*options, f"--strength={strength}"]


def _fit_screened(
    system: System, folder: Path, rows: int, bad: int, poison: list[str]
) -> dict[str, Any]:
    plan = replace(system.plan, baseline_rows=rows, simulated_requests=100_000)
    source, findings = folder / "source.npz", folder / FINDINGS
    run_to_the_end("capture", [*capture_arguments(plan, source), *poison], folder)
    fit = [*fit_arguments(plan, source, folder / "baselines"), f"--findings={findings}"]
    with Child(fit, folder / "fit.log") as fitting:
        code = fitting.wait()
    if not findings.exists():
        raise ExperimentError(f"the fit ended with exit code {code}:\n{fitting.tail()}")
    return {"refused": bool(code), "poison": bad, **_screened(findings, rows - bad)}


def _screened(findings: Path, first_bad: int) -> dict[str, Any]:
    """The findings, and how many of the rows they name were attacked; those come last."""
    found = orjson.loads(findings.read_bytes())["findings"]
    named = {row for one in found if one["kind"] == "poisoned" for row in one["rows"]}
    return {
        "findings": [
            {key: one[key] for key in ("kind", "severity", "sentence")} | {"rows": len(one["rows"])}
            for one in found
        ],
        "named": len(named),
        "poison_named": sum(row >= first_bad for row in named),
    }
