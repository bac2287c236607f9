"""Tells people of alerts: once for each change, across restarts.

`change` says what there is to tell, `text` and `alertmanager` in which words, `targets` delivers,
`retry` tries again, and `follow` reads the alerts topic.
"""

from latentwatch.stream.notify.change import AlertState, Book, Notification, alert_state, changes
from latentwatch.stream.notify.errors import DeliveryError, NotifyError
from latentwatch.stream.notify.parse import parse_target, parse_targets
from latentwatch.stream.notify.signature import sign

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
