"""The detector's synthetic traffic and its baseline, for comparisons with other methods."""

from tests.detector.conftest import baseline, traffic

__all__ = ["baseline", "traffic"]
