"""The baseline: a frozen description of a model's activations on validation data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentwatch.detector import artefact
from latentwatch.detector.agreement import Agreement
from latentwatch.detector.calibration import Progress, calibrate
from latentwatch.detector.decision import LEAST_ROWS, Decision, decide
from latentwatch.detector.errors import TooFewRowsError
from latentwatch.detector.features import Float32, Float64, Int64, chunks, placed
from latentwatch.detector.featuriser import NUMPY, Featuriser
from latentwatch.detector.parts import BaselineParts
from latentwatch.detector.queries import QueryReference
from latentwatch.detector.rows import Layout, class_groups, feature_count, gather
from latentwatch.detector.sketch import Features, Requests, Sketch
from latentwatch.detector.view import fit_views


@dataclass(frozen=True, eq=False)
class WindowTest:
    """Result of testing whether some requests come from the baseline's distribution.

    Parameters
    ----------
    p_value : float
        Of the joint test; never 0.
    decision : Decision
        T, E and scores by view in ``decision.views``, contamination and pattern.
    most_suspicious : int64 [n]
        Row numbers, the most suspicious first.
    """

    p_value: float
    decision: Decision
    most_suspicious: Int64


@dataclass(frozen=True, eq=False)
class Baseline(BaselineParts):
    """Frozen feature maps, null models and thresholds of one model version.

    Create one with `Baseline.fit` or `Baseline.load`. The first two views decide: the deepest
    layer, whose p-values also say how typical single requests are, and the agreement of all layers
    with the prediction. The other layers explain. `BaselineParts` lists the fields.
    """

    @classmethod
    def fit(
        cls,
        activations: Mapping[str, ArrayLike],
        predicted: ArrayLike,
        *,
        model: str,
        version: str,
        seed: int = 0,
        classes: int | None = None,
        longest_window: int = 512,
        random_features: int | None = None,
        simulated_requests: int = 1_600_000,
        drop_constant: bool = False,
        rare_classes: Literal["refuse", "pool"] = "refuse",
        progress: Progress | None = None,
    ) -> Baseline:
        """Fit on activations of the validation phase.

        Parameters
        ----------
        activations : mapping of layer name to array [N, d]
            In order of depth, the earliest layer first.
        predicted : int array [N]
            Predicted class of each row.
        classes : int, optional
            Number of classes of the model; by default the largest prediction plus one.
        longest_window : int
            Rows of the longest rolling window, a power of two of at least 32. The baseline needs
            at least twice as many rows.
        random_features : int, optional
            D of the deciding view; by default the largest power of two, up to 1024, that is at
            most a third of the rows.
        simulated_requests : int
            Total length of the simulated clean streams. More requests make thresholds more precise
            and allow longer run lengths.
        drop_constant : bool
            Drop features that never vary instead of refusing them.
        rare_classes : "refuse" or "pool"
            What to do with classes of fewer than 20 rows: refuse them, or treat them as one class.
        progress : callable, optional
            Called with the number of streams simulated and the total.

        Raises
        ------
        BaselineError, ActivationsError
            Too few rows, constant features, NaN, different numbers of rows; see
            `detector.errors`.
        """
        layout, rows, classes_of_rows = Layout.learn(activations, predicted, drop_constant)
        group_of_class = class_groups(classes_of_rows, classes, pool=rare_classes == "pool")
        groups = group_of_class[classes_of_rows]
        rng = np.random.default_rng(seed)
        features = feature_count(len(rows), longest_window, random_features)
        agreement, agreeing = Agreement.fit(rows, groups, layout.all_columns())
        views, deciding = fit_views(layout, features, np.hstack([rows, agreeing]), groups, rng)
        unfinished = cls(
            model=model,
            version=version,
            seed=seed,
            layout=layout,
            group_of_class=group_of_class,
            agreement=agreement,
            views=views,
            queries=QueryReference.fit(rows, groups, layout.columns(layout.names[-1]), seed=seed),
            calibration=calibrate(
                [(left_out, view.null) for left_out, view in zip(deciding, views, strict=False)],
                longest_window,
                simulated_requests,
                rng,
                progress,
            ),
            longest_window=longest_window,
            fitted_rows=len(rows),
        )
        return replace(unfinished, sha256=artefact.digest(unfinished))

    def save(self, url: str) -> str:
        """Write the artefact to a path or any fsspec URL; return its SHA-256."""
        return artefact.save(self, url)

    @classmethod
    def load(cls, url: str, *, sha256: str | None = None) -> Baseline:
        """Read an artefact; `ArtefactError` if it is damaged or not the expected one."""
        return cls.parse(artefact.read(url), url, sha256=sha256)

    @classmethod
    def parse(cls, content: bytes, url: str, *, sha256: str | None = None) -> Baseline:
        """Like `load`, from bytes that were read (and perhaps verified) before.

        `url` is where they come from, for error texts.
        """
        return cls(**vars(artefact.parse(content, url, sha256=sha256)))

    def check(self, activations: Mapping[str, NDArray[np.generic]], predicted: ArrayLike) -> None:
        """Raise an `ActivationsError` if this baseline cannot judge the rows."""
        self.rows(activations, predicted)

    def rows(
        self, activations: Mapping[str, ArrayLike], predicted: ArrayLike
    ) -> tuple[Float32, Int64]:
        """Checked raw rows float32 [n, all columns] and classes int64 [n]."""
        return gather(self.layout, activations, predicted, self.classes)

    def features(
        self, rows: Float32, predicted: Int64, place: int = 0, featuriser: Featuriser = NUMPY
    ) -> Features:
        """Featurise raw rows [n, all columns], in chunks of one fixed shape.

        `place` is the position of the first row in its chunk. The last bits of a row may depend on
        its position.
        """
        groups = self.group_of_class[predicted]
        psi = np.empty((len(rows), self.width), dtype=np.int16)
        lengths = np.empty((len(rows), len(self.views)), dtype=np.int64)
        squared_distance = np.empty(lengths.shape, dtype=np.float32)
        cuts = chunks(len(rows), place)
        padded = (
            (placed(rows[chunk], own.start), placed(groups[chunk], own.start))
            for chunk, own in cuts
        )
        for (chunk, own), found in zip(cuts, featuriser.residuals(self, padded), strict=True):
            psi[chunk], lengths[chunk] = found.psi[own], found.lengths[own]
            squared_distance[chunk] = found.squared_distance[own]
        p_values = [
            view.null.typicality.p_values(squared_distance[:, index], groups)
            for index, view in enumerate(self.views)
        ]
        return Features(
            predicted, groups, psi, lengths, squared_distance, np.stack(p_values, axis=1)
        )

    def empty_sketch(self) -> Sketch:
        """An empty sketch in this baseline's shape."""
        return Sketch.empty(self.groups, self.width, len(self.views))

    def sketch(self, features: Features, requests: Requests | None = None) -> Sketch:
        """Summarise rows as a sketch."""
        return Sketch.of(features, requests or Requests.anonymous(len(features)), self.groups)

    def test(self, activations: Mapping[str, ArrayLike], predicted: ArrayLike) -> WindowTest:
        """Test once whether n >= 8 requests come from the baseline's distribution.

        Parameters
        ----------
        activations : mapping of layer name to array [n, d]
        predicted : int array [n]
        """
        rows, classes = self.rows(activations, predicted)
        if len(rows) < LEAST_ROWS:
            raise TooFewRowsError(
                f"a test needs at least {LEAST_ROWS} requests, not {len(rows)}; "
                "use Baseline.score for single requests"
            )
        features = self.features(rows, classes)
        decision = decide(self.sketch(features), self)
        order = np.lexsort((-features.squared_distance[:, 0], features.p_values[:, 0]))
        return WindowTest(decision.p_value, decision, order.astype(np.int64))

    def score(self, activations: Mapping[str, ArrayLike], predicted: ArrayLike) -> Float64:
        """Typicality p-values float64 [n]: small for atypical requests, never 0."""
        features = self.features(*self.rows(activations, predicted))
        return features.p_values[:, 0].copy()

    def threshold(self, average_run_length: float, lanes: int = 1) -> float:
        """Alarm threshold for one false alarm per `average_run_length` requests on average.

        `lanes` streams share that budget: the run length of each is `lanes` times longer.
        """
        return self.calibration.run_lengths.threshold(average_run_length * lanes)
