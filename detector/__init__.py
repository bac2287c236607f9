"""The mathematics of latentwatch: do the activations of some requests match the baseline?

Pure: no clock, no Kafka, no logging, no global random state. Start with `Baseline.fit`, then test a
set of requests with `Baseline.test`, or watch a stream with `Monitor`.
"""

try:
    import safetensors as _safetensors  # noqa: F401
    import scipy as _scipy  # noqa: F401
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"latentwatch.detector needs {_error.name}: pip install 'latentwatch[detector]'",
        name=_error.name,
    ) from _error

from latentwatch.detector.baseline import Baseline, WindowTest
from latentwatch.detector.calibration import Calibration, RunLengths
from latentwatch.detector.clients.extraction import Extraction, ExtractionMonitor
from latentwatch.detector.decision import Decision, ViewStatistics, decide
from latentwatch.detector.difference import Difference, LayerDifference, compare_baselines
from latentwatch.detector.errors import (
    ActivationsError,
    ArtefactError,
    BaselineError,
    ConstantFeaturesError,
    DetectorError,
    DimensionError,
    NotFiniteError,
    SketchError,
    TooFewRowsError,
    UnseenClassError,
)
from latentwatch.detector.evaluation.measures import Evaluation, evaluate
from latentwatch.detector.exact import gaussian_kernel, mmd_squared, permutation_test
from latentwatch.detector.flagging import Contamination, Flagged, attribution, contamination, flag
from latentwatch.detector.monitor import Block, Monitor
from latentwatch.detector.screening.findings import Finding, Screening, screen
from latentwatch.detector.sketch import Features, Requests, Sketch
from latentwatch.detector.suspects import Suspect
from latentwatch.detector.view import View

__all__ = [
    "ActivationsError",
    "ArtefactError",
    "Baseline",
    "BaselineError",
    "Block",
    "Calibration",
    "ConstantFeaturesError",
    "Contamination",
    "Decision",
    "DetectorError",
    "Difference",
    "DimensionError",
    "Evaluation",
    "Extraction",
    "ExtractionMonitor",
    "Features",
    "Finding",
    "Flagged",
    "LayerDifference",
    "Monitor",
    "NotFiniteError",
    "Requests",
    "RunLengths",
    "Screening",
    "Sketch",
    "SketchError",
    "Suspect",
    "TooFewRowsError",
    "UnseenClassError",
    "View",
    "ViewStatistics",
    "WindowTest",
    "attribution",
    "compare_baselines",
    "contamination",
    "decide",
    "evaluate",
    "flag",
    "gaussian_kernel",
    "mmd_squared",
    "permutation_test",
    "screen",
]
