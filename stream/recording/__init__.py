"""Recorded traffic: Parquet files of requests, written from Kafka and read back in order.

Needs the extra ``record``. `Recording` is the door for notebooks.
"""

from .layout import FilePlace, Flush
from .reader import Recording, Selection
from .rows import RecordedMessage

__all__ = ["FilePlace", "Flush", "RecordedMessage", "Recording", "Selection"]
