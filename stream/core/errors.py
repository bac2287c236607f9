"""What can go wrong in the service, as one tree::

    StreamError
    ├── BrokerError         no broker can be found or started, or it does not answer
    ├── EventError          an event of an output topic with a member that is missing or wrong
    ├── InvestigationError  an alert, its requests or its baseline are missing, or do not match
    ├── RecordingError      a recording that is damaged, foreign, empty, or lacks what is asked for
    ├── SettingsError       a setting that cannot be right
    ├── SignatureError      a key or signature that is missing, damaged, or not trusted
    ├── StateError          a record of an internal topic that no worker wrote
    ├── SuspendedError      a worker that stood still for longer than its partitions wait for it
    └── TopicError          a topic that is missing, or differs from what the settings say

Every message says what happened and what to do about it.
"""

__all__ = [
    "BrokerError",
    "EventError",
    "InvestigationError",
    "RecordingError",
    "SettingsError",
    "SignatureError",
    "StateError",
    "StreamError",
    "SuspendedError",
    "TopicError",
]


class StreamError(Exception):
    """Base of every error that the package ``stream`` raises by itself."""


class BrokerError(StreamError):
    """A Kafka broker could not be found, started or reached."""


class EventError(StreamError):
    """An event of an output topic, or a dead letter, is not what workers publish."""


class InvestigationError(StreamError):
    """An alert, its requests or its baseline are missing, or do not belong together."""


class RecordingError(StreamError):
    """A recording is damaged, not one of ours, empty, or lacks what is asked for."""


class SettingsError(StreamError):
    """A setting is unknown, malformed, or contradicts another one."""


class SignatureError(StreamError):
    """A key cannot be used, or a signature is missing, damaged, or made with an untrusted key."""


class StateError(StreamError):
    """A record of an internal topic is damaged, or was not written by a worker."""


class SuspendedError(StreamError):
    """The process was stopped, or the machine slept, for so long that others took over."""


class TopicError(StreamError):
    """A topic is missing, could not be created, or has other partitions than the settings say."""
