"""The baseline that an experiment needs before it starts, of the classifier that it attacks.

It is made once per classifier and kept with the results of the experiments, in a folder named after
everything that it depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from latentwatch import __version__
from latentwatch.chaos.traffic.errors import ExperimentError
from latentwatch.stream.processes.child import Child
from latentwatch.stream.service.baselines import baseline_url

__all__ = ["SystemPlan", "baselines_of", "capture_arguments", "fit_arguments", "run_to_the_end"]

NOT_OF_THE_BASELINE = ("workers", "broker", "warm_up", "settings")

TRAFFIC = ["-m", "latentwatch.chaos.traffic"]


@dataclass(frozen=True)
class SystemPlan:
    """The system under test.

    Parameters
    ----------
    classifier, inputs, layers : str
        The classifier to attack, see ``python -m latentwatch.chaos.traffic --help``.
    model, version : str
        Its name in messages.
    workers : int
        Workers at the start.
    broker : "shared" or "own"
        A shared broker is the one that ``KAFKA_BOOTSTRAP_SERVERS`` names, or one for all
        experiments of a run. An experiment that stops the broker needs its own.
    baseline_rows, simulated_requests : int
        Rows of the baseline, and clean requests that its thresholds are simulated with.
    warm_up : int
        Benign requests before the experiment, so that the first check of the hypothesis has
        something to measure.
    seed : int
    settings : mapping
        Other settings of the workers, by name.
    """

    classifier: str
    inputs: str
    layers: str
    model: str = "chaos"
    version: str = "1"
    workers: int = 1
    broker: Literal["shared", "own"] = "shared"
    baseline_rows: int = 4000
    simulated_requests: int = 1_600_000
    warm_up: int = 800
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of all that the baseline depends on."""
        own = asdict(self)
        facts = {k: v for k, v in own.items() if k not in NOT_OF_THE_BASELINE}
        text = orjson.dumps([__version__, facts], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:16]

    def target_arguments(self) -> list[str]:
        """Options of ``python -m latentwatch.chaos.traffic`` that name the target."""
        return [
            f"--classifier={self.classifier}",
            f"--inputs={self.inputs}",
            f"--layers={self.layers}",
        ]


def baselines_of(plan: SystemPlan, folder: Path) -> Path:
    """Return the folder with the classifier's baseline, which is fitted if it is missing."""
    own = folder / plan.key
    baselines = own / "baselines"
    if not Path(baseline_url(str(baselines), plan.model, plan.version)).exists():
        own.mkdir(parents=True, exist_ok=True)
        rows = own / "validation.npz"
        run_to_the_end("capture", capture_arguments(plan, rows), own)
        run_to_the_end("fit", fit_arguments(plan, rows, baselines), own)
    return baselines


def capture_arguments(plan: SystemPlan, rows: Path) -> list[str]:
    """Arguments of the command that captures the rows of a baseline."""
    return [
        *TRAFFIC, "capture", *plan.target_arguments(), f"--rows={plan.baseline_rows}",
        f"--seed={plan.seed}", f"--out={rows}",
    ]  # fmt: skip


def fit_arguments(plan: SystemPlan, rows: Path, baselines: Path) -> list[str]:
    """Arguments of the command that screens these rows and fits the baseline."""
    return [
        "-m", "latentwatch", "baseline", "fit", str(rows), f"--model={plan.model}",
        f"--model-version={plan.version}", f"--baselines={baselines}", "--drop-constant",
        "--pool-rare-classes", f"--simulated-requests={plan.simulated_requests}",
        f"--seed={plan.seed}",
    ]  # fmt: skip


def run_to_the_end(what: str, command: list[str], folder: Path) -> None:
    """Run a command, with its log in a folder.

    Raises
    ------
    ExperimentError
        It failed; the message has the end of its log.
    """
    with Child(command, folder / f"{what}.log") as child:
        code = child.wait()
    if code:
        raise ExperimentError(f"'{what}' ended with exit code {code}:\n{child.tail()}")
