"""Actions of experiments: traffic, faults, and a poisoned source of a baseline.

Traffic waits for its end; with ``background: true`` in the experiment what follows happens
meanwhile. Each stretch of traffic begins at the next full hour of event time.
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
        Of event time that they spread over.
    run_seconds : float
        How long it shall take by the clock; 0 is as fast as it goes.
    dropped, late : float
        Share of the messages that get lost, and of those that come after all others.
    skew_seconds : float
        By which the clock of the sending service is wrong.
    shard : str, optional
        Third part of the message key, for a partition of its own.
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
    """Send an attack beside benign requests; return what was played.

    Parameters
    ----------
    method : str
        pgd, pgd_targeted, fgsm, deepfool, carlini_l2, square or patch, on any classifier;
        extraction, whose queries come from one client, the copier, beside those of honest ones;
        feature_match and adaptive_... on the traffic signs alone.
    share : float
        Of adversarial requests between `begin` and `until`, parts of the stretch from 0 to 1.
    requests : int
        In all.
    strength : float, optional
        In the unit of the method; its usual strength by default.
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
    """Send worn inputs: noise, blur, brightness, fog or rotation at a strength of 1 to 3."""
    options = _bad(f"drift_{kind}", share, requests, strength, begin, until, run_seconds)
    return running().play(f"drift_{kind}", seconds, options)


def shift_classes(favoured: int, favour: float, requests: int, seconds: float = 3600.0) -> Played:
    """Send benign requests of which a share `favour` shows one class."""
    options = {"requests": requests, "favoured": favoured, "favour": favour}
    return running().play("classes", seconds, options)


def wait_for_requests(requests: int, timeout: float = 180.0) -> float:
    """Wait until so many requests were sent since the warm-up; return the seconds it took.

    For what is to happen in the midst of traffic that goes on in the background.
    """
    system, begun = running(), time.monotonic()
    while (sent := system.sent()) < requests:
        if time.monotonic() - begun > timeout:
            raise ExperimentError(
                f"{sent} of {requests} requests were sent within {timeout:g} s: send traffic with "
                "background: true before, and as much as that"
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

    They keep their event times and count in their hours; what they are nobody knows, so that an
    alert among them is no false one, and none is waited for.
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
    """Kill a worker (SIGKILL); workers are numbered from 0 in the order of their start."""
    system = running()
    system.worker(number).kill()
    system.note_fault()


def pause_worker(number: int = 0) -> None:
    """Stop a worker where it stands (SIGSTOP)."""
    system = running()
    system.worker(number).pause()
    system.note_fault()


def resume_worker(number: int = 0) -> None:
    """Let a paused worker go on."""
    system = running()
    system.worker(number).resume()
    system.note_fault()


def resume_workers() -> None:
    """Let all workers go on; harmless where none is paused."""
    for worker in running().workers:
        worker.resume()


def add_worker() -> int:
    """Start one worker more; return its number."""
    system = running()
    system.add_worker()
    return len(system.workers) - 1


def kill_broker() -> None:
    """Kill the experiment's own broker (SIGKILL); its data stay."""
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
    """Fit a baseline on rows of which a share was attacked; the system goes on with its own.

    Returns
    -------
    dict
        ``refused``: whether no baseline was fitted; ``findings`` of the screening, each with its
        ``kind``, ``severity``, ``sentence`` and number of ``rows``; ``poison``, the rows attacked;
        ``poison_named``, how many of those that are named were.
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
    return {"refused": bool(code), "poison": bad, **_told(findings, rows - bad)}


def _told(findings: Path, first_bad: int) -> dict[str, Any]:
    """The findings, and how many of the rows that they name were attacked: those come last."""
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
