"""Model extraction: a sequential test of the queries of each client."""

from latentwatch.detector.clients.extraction import Extraction, ExtractionMonitor

__all__ = ["Extraction", "ExtractionMonitor"]
