"""Tells people of alerts: once for each change, across restarts.

`change` says what there is to tell, `text` and `alertmanager` in which words, `targets` delivers,
`retry` tries again, and `follow` reads the alerts topic.
"""

from .change import AlertState, Book, Notification, alert_state, changes
from .errors import DeliveryError, NotifyError
from .parse import parse_target, parse_targets
from .signature import sign

__all__ = [
    "AlertState",
    "Book",
    "DeliveryError",
    "Notification",
    "NotifyError",
    "alert_state",
    "changes",
    "parse_target",
    "parse_targets",
    "sign",
]
