"""Replay recorded traffic: through Kafka, or offline with the same processor."""
