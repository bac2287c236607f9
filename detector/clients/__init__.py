"""Which client is copying the model? A sequential test of each client's queries."""

from latentwatch.detector.clients.extraction import Extraction, ExtractionMonitor

__all__ = ["Extraction", "ExtractionMonitor"]
