"""Looking into things: which layers see attacks, and what an alert saw.

Needs the extra ``record``.
"""

from .alert import AlertEvent, AnyAlert, ClientAlert, alert_in_file, newest_alert
from .errors import InvestigationError
from .lane_rows import LaneRows, MessageSource, rows_around
from .suspicion import Suspicion, SuspiciousRequest, weigh
from .window import Judged, judge_again

__all__ = [
    "AlertEvent",
    "AnyAlert",
    "ClientAlert",
    "InvestigationError",
    "Judged",
    "LaneRows",
    "MessageSource",
    "Suspicion",
    "SuspiciousRequest",
    "alert_in_file",
    "judge_again",
    "newest_alert",
    "rows_around",
    "weigh",
]
