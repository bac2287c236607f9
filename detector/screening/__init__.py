"""Is a baseline's source fit to be called normal? Poisoned, drifting and repeated rows.

`screen` asks all questions; the answers are `Finding` objects in a `Screening`.
"""

from latentwatch.detector.screening.findings import Finding, Screening, screen

__all__ = ["Finding", "Screening", "screen"]
