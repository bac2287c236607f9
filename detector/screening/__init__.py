"""Screening: checks of the rows for a baseline, for poisoned, drifting and repeated rows.

`screen` runs all checks and returns a `Screening` with its `Finding` objects.
"""

from latentwatch.detector.screening.findings import Finding, Screening, screen

__all__ = ["Finding", "Screening", "screen"]
