"""What a baseline consists of: the values that the artefact stores and that decisions read."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentwatch.detector.agreement import Agreement
from latentwatch.detector.calibration import Calibration
from latentwatch.detector.features import Int64
from latentwatch.detector.queries import QueryReference
from latentwatch.detector.rows import Layout
from latentwatch.detector.view import DECIDING_VIEWS, View


@dataclass(frozen=True, eq=False)
class BaselineParts:
    """Feature maps, null models and thresholds of one model version; values without behaviour.

    `latentwatch.detector.Baseline` adds fitting, files, features and tests.

    Parameters
    ----------
    model, version : str
    seed : int
        Seed of all random choices of the fit.
    layout : Layout
        Layers, their widths and the columns in use.
    group_of_class : int64 [classes]
        Class group of each class; rare classes may share one.
    agreement : Agreement
    views : tuple of View
        The deciding views first: the deepest layer, then the agreement of all layers with the
        prediction. The other layers explain.
    queries : QueryReference
        What the test of clients compares with.
    calibration : Calibration
    longest_window : int
        Rows of the longest rolling window.
    fitted_rows : int
    sha256 : str
        Digest of all of the above; empty until it is computed.
    """

    model: str
    version: str
    seed: int
    layout: Layout
    group_of_class: Int64
    agreement: Agreement
    views: tuple[View, ...]
    queries: QueryReference
    calibration: Calibration
    longest_window: int
    fitted_rows: int
    sha256: str = field(default="")

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Captured layers, the earliest first."""
        return self.layout.names

    @property
    def deciding(self) -> tuple[View, ...]:
        """The views whose highest score decides."""
        return self.views[:DECIDING_VIEWS]

    @property
    def classes(self) -> int:
        """Number of classes of the model."""
        return len(self.group_of_class)

    @property
    def groups(self) -> int:
        """Number of class groups; as many as classes unless rare ones were pooled."""
        return int(self.group_of_class.max()) + 1

    @property
    def width(self) -> int:
        """Length R of the residuals of all views side by side."""
        return int(self.views[-1].slice.stop)
