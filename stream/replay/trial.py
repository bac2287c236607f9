"""What would have happened with another baseline."""

from __future__ import annotations

from latentwatch.detector import Baseline
from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.rates import FindBaseline
from latentwatch.stream.recording import Recording
from latentwatch.stream.settings import Settings

__all__ = ["one_baseline"]


def one_baseline(recording: Recording, baseline: Baseline, settings: Settings) -> FindBaseline:
    """Judge the one model version of a recording by a baseline of that model, of any version.

    Raises
    ------
    RecordingError
        It is of another model, or its layers are not in the recording.
    BaselineError
        It cannot promise the run length.
    """
    model, version = recording.only_model()
    if baseline.model != model:
        raise RecordingError(
            f"the baseline is of {baseline.model}/{baseline.version}, and {recording.url} of "
            f"{model}/{version}: name a baseline of {model}"
        )
    widths = recording.layers()
    missing = [
        f"{name} ({width})"
        for name, width in zip(baseline.layout.names, baseline.layout.widths, strict=True)
        if widths.get(name) != width
    ]
    if missing:
        raise RecordingError(
            f"the baseline judges {', '.join(missing)}, and {recording.url} has "
            f"{', '.join(f'{name} ({width})' for name, width in widths.items())}: name a baseline "
            "of these layers"
        )
    baseline.threshold(settings.average_run_length, settings.lanes)
    return lambda name, number: baseline if (name, number) == (model, version) else None
