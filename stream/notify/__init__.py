"""Notifies people of alerts: once per change, across restarts.

`change` decides what is worth a notification, `text` and `alertmanager` word it, `targets` deliver
it, `retry` repeats what failed, and `follow` reads the alerts topic.
"""

from latentwatch.stream.notify.change import AlertState, Announced, Notification, alert_state
from latentwatch.stream.notify.parse import parse_target, parse_targets
from latentwatch.stream.notify.targets import DeliveryError, NotifyError, sign

__all__ = [
    "AlertState",
    "Announced",
    "DeliveryError",
    "Notification",
    "NotifyError",
    "alert_state",
    "parse_target",
    "parse_targets",
    "sign",
]
