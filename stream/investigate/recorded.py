"""The requests of an alert, read back from a recording."""

from __future__ import annotations

from latentwatch.stream.recording import Flush, RecordedMessage, Recording

__all__ = ["RecordedMessages"]


class RecordedMessages:
    """Messages of one model version on one partition, as they were recorded.

    Parameters
    ----------
    url : str
        Path or fsspec URL of the recording.
    model, version : str
    partition : int

    Raises
    ------
    RecordingError
        Nothing is recorded there, or nothing of the model version.
    """

    def __init__(self, url: str, model: str, version: str, partition: int) -> None:
        self.name = f"{url}, partition {partition}"
        self.gone = (
            "the recording does not reach so far; give the one that was made while the alert fired"
        )
        self._recording = Recording(url).select(model=model, version=version)
        self._partition = partition

    def bounds(self) -> tuple[int, int]:
        """The first offset that is there, and the one after the last; zeros without any."""
        flushes = [place.flush for place in self._recording.places]
        own = [flush for flush in flushes if flush.partition == self._partition]
        if not own:
            return 0, 0
        return min(flush.first for flush in own), max(flush.next for flush in own)

    def read(self, first: int, end: int) -> list[RecordedMessage]:
        """Messages from one offset on, before another."""
        wanted = Flush(self._partition, first, end)
        if not any(wanted.meets(place.flush) for place in self._recording.places):
            return []
        return list(self._recording.select(flush=wanted).messages())
