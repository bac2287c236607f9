"""Benchmarks: figures, with the machine and the versions that they are of."""
