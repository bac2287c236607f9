"""Runs experiments with Chaos Toolkit, and keeps their journals and reports."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
from chaoslib import convert_vars
from chaoslib.exceptions import ChaosException
from chaoslib.experiment import ensure_experiment_is_valid, load_experiment, run_experiment

from latentwatch.chaos.experiment.page import render
from latentwatch.chaos.experiment.system import (
    EVIDENCE,
    FOLDER,
    MATERIAL,
    disposable_broker,
    stop_system,
)
from latentwatch.chaos.traffic.errors import ExperimentError
from latentwatch.stream.settings.sources import KAFKA_SERVERS_VARIABLE

__all__ = ["JOURNAL", "REPORT", "Outcome", "read_variables", "run_experiments"]

JOURNAL, REPORT = "journal.json", "report.html"

Verdict = Literal["held", "deviated", "not run"]

ALWAYS = {"runtime": {"rollbacks": {"strategy": "always"}}}
"""What was broken is mended, whatever the outcome."""

CONTROL_MODULE = "latentwatch.chaos.control"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an experiment.

    Parameters
    ----------
    title : str
    verdict : "held", "deviated" or "not run"
        Held: the hypothesis was true before and after, and every activity succeeded.
    why : str
        What did not hold or went wrong; empty if it held.
    folder : Path
    seconds : float
    """

    title: str
    verdict: Verdict
    why: str
    folder: Path
    seconds: float


def run_experiments(
    files: Sequence[Path],
    out: Path,
    *,
    force: bool = False,
    variables: dict[str, Any] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Iterator[Outcome]:
    """Run experiments one after another, on one broker unless they have their own.

    Parameters
    ----------
    files : sequence of Path
        YAML or JSON, in Chaos Toolkit's format.
    out : Path
        Gets a folder for each experiment, and one for baselines.
    force : bool
        Whether to replace the results of earlier runs.
    variables : dict, optional
        Values for the experiments' configuration.
    progress : callable
        Called with each line that Chaos Toolkit logs.

    Raises
    ------
    ExperimentError
        A file is not an experiment, or there are results already. Nothing was run.
    """
    loaded = [(path, _load(path)) for path in files]
    folders = [_free_folder(out, path, force) for path, _ in loaded]
    with _logged(progress), _shared_broker([e for _, e in loaded], progress):
        for (_, experiment), folder in zip(loaded, folders, strict=True):
            yield _run(experiment, folder, out / "material", variables or {})


def read_variables(texts: Sequence[str]) -> dict[str, Any]:
    """Read values for the configuration, each ``name[:type]=value``.

    Raises
    ------
    ExperimentError
        One of them has another form.
    """
    try:
        found: dict[str, Any] = convert_vars(list(texts))
    except ValueError as error:
        raise ExperimentError(f"{', '.join(texts)}: {error}") from error
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        experiment: dict[str, Any] = load_experiment(str(path))
        ensure_experiment_is_valid(experiment)
    except (ChaosException, ValueError) as error:
        raise ExperimentError(
            f"{path} cannot be run: {error}; experiments/README.md says how to write one"
        ) from error
    return experiment


def _free_folder(out: Path, path: Path, force: bool) -> Path:
    folder = out / path.stem
    if (folder / JOURNAL).exists() and not force:
        raise ExperimentError(f"{folder} has a journal already: choose another --out, or --force")
    for old in folder.glob("*"):
        if old.is_file() and old.suffix in (".json", ".jsonl", ".log", ".html"):
            old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(
    experiment: dict[str, Any], folder: Path, material: Path, variables: dict[str, Any]
) -> Outcome:
    own = copy.deepcopy(experiment)
    places = {FOLDER: str(folder), MATERIAL: str(material)}
    own["configuration"] = {**own.get("configuration", {}), **places}
    try:
        journal = run_experiment(own, settings=ALWAYS, experiment_vars=(dict(variables), {}))
    finally:
        stop_system()  # the control has done so, unless Chaos Toolkit itself failed
    # a journal is passed on to others: it does not say where it ran
    for name in places:
        journal["experiment"]["configuration"].pop(name, None)
    _strip(journal)
    evidence = _read_evidence(folder)
    verdict, why = _judge(journal)
    text = orjson.dumps(journal, default=str, option=orjson.OPT_INDENT_2)
    (folder / JOURNAL).write_bytes(text)
    page = render(journal=orjson.loads(text), evidence=evidence, verdict=verdict, why=why)
    (folder / REPORT).write_text(page, encoding="utf-8")
    return Outcome(own["title"], verdict, why, folder, round(journal["duration"], 1))


def _strip(journal: dict[str, Any]) -> None:
    """Remove the machine's name."""
    journal.pop("node", None)


def _read_evidence(folder: Path) -> dict[str, Any] | None:
    path = folder / EVIDENCE
    found: dict[str, Any] | None = orjson.loads(path.read_bytes()) if path.exists() else None
    return found


def _judge(journal: dict[str, Any]) -> tuple[Verdict, str]:
    """Chaos Toolkit says whether the hypothesis held; for us a failed action also counts."""
    before = journal["steady_states"]["before"]
    if journal["status"] == "interrupted" or before is None:
        return "not run", "it was interrupted; the log says why"
    if not before["steady_state_met"]:
        return "not run", f"the system was not well before: {_missed(before)}"
    if journal["deviated"]:
        return "deviated", _missed(journal["steady_states"]["after"])
    failed = [run for run in journal["run"] + journal["rollbacks"] if run["status"] != "succeeded"]
    if failed or journal["status"] != "completed":
        what = "; ".join(f"{run['activity']['name']}: {_error(run)}" for run in failed)
        return "not run", what or f"it ended as {journal['status']}"
    return "held", ""


def _missed(state: dict[str, Any]) -> str:
    run = state["probes"][-1]
    found = _error(run) if run["status"] == "failed" else run["output"]
    return f"{run['activity']['name']} ({found})"


def _error(run: dict[str, Any]) -> str:
    return str(run.get("exception", [""])[-1]).strip()


@contextmanager
def _shared_broker(
    experiments: Sequence[dict[str, Any]], progress: Callable[[str], None]
) -> Iterator[None]:
    """Start a broker for those that need a shared one, unless the environment names one."""
    if KAFKA_SERVERS_VARIABLE in os.environ or not any(map(_shares, experiments)):
        yield
        return
    with disposable_broker(progress) as broker:
        os.environ[KAFKA_SERVERS_VARIABLE] = broker.bootstrap_servers
        try:
            yield
        finally:
            del os.environ[KAFKA_SERVERS_VARIABLE]


def _shares(experiment: dict[str, Any]) -> bool:
    return any(
        control["provider"].get("module") == CONTROL_MODULE
        and control["provider"].get("arguments", {}).get("broker", "shared") == "shared"
        for control in experiment.get("controls", ())
    )


class _LogLines(logging.Handler):
    def __init__(self, progress: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress(record.getMessage())


@contextmanager
def _logged(progress: Callable[[str], None]) -> Iterator[None]:
    logger = logging.getLogger("chaostoolkit")
    handler, propagate, level = _LogLines(progress), logger.propagate, logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
