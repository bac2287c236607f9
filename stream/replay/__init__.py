"""Recorded traffic again: through Kafka, or without it on the same processor."""
