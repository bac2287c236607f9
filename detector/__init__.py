"""The mathematics of latentwatch: is a set of requests what the baseline says it should be?

Pure: no clock, no Kafka, no logging, no global random state. Start with `Baseline.fit`, ask
`Baseline.test` once, or watch a stream with `Monitor`.
"""

from detector.baseline import Baseline, View, WindowTest
from detector.calibration import Calibration, RunLengths
from detector.decision import Decision, ViewStatistics, decide
from detector.difference import Difference, LayerDifference, compare_baselines
from detector.errors import (
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
from detector.evaluation import Evaluation, evaluate
from detector.exact import gaussian_kernel, mmd_squared, permutation_test
from detector.extraction import Extraction, ExtractionMonitor
from detector.flagging import Contamination, Flagged, attribution, contamination, flag
from detector.monitor import Block, Monitor
from detector.screening import Finding, Screening, screen
from detector.sketch import Features, Requests, Sketch
from detector.suspects import Suspect

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
