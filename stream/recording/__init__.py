"""Recorded traffic: Parquet files of requests, written from Kafka and read back in order.

Needs the extra ``record``. Notebooks start with `Recording`.
"""

from latentwatch.stream.recording.layout import FilePlace, Flush
from latentwatch.stream.recording.reader import Recording, Selection
from latentwatch.stream.recording.rows import RecordedMessage

__all__ = ["FilePlace", "Flush", "RecordedMessage", "Recording", "Selection"]
