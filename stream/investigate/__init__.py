"""Investigation: which requests caused an alert, and which layers to capture.

Needs the extra ``record``.
"""

from latentwatch.stream.core.errors import InvestigationError
from latentwatch.stream.investigate.alert import (
    AnyAlert,
    ClientAlert,
    WindowAlert,
    alert_in_file,
    newest_alert,
)
from latentwatch.stream.investigate.lane_rows import LaneRows, MessageSource, rows_around
from latentwatch.stream.investigate.suspicion import Suspicion, SuspiciousRequest, weigh
from latentwatch.stream.investigate.window import Judged, judge_again

__all__ = [
    "AnyAlert",
    "ClientAlert",
    "InvestigationError",
    "Judged",
    "LaneRows",
    "MessageSource",
    "Suspicion",
    "SuspiciousRequest",
    "WindowAlert",
    "alert_in_file",
    "judge_again",
    "newest_alert",
    "rows_around",
    "weigh",
]
