"""Peers: other drift detectors that judge the same windows, in a Python environment of their own.

alibi-detect and frouros need numpy 1, so they cannot share an environment with latentwatch.
"""

from latentwatch.lab.peers.run import (
    DEFAULT_PYTHON,
    PEERS,
    Peer,
    PeersError,
    Verdicts,
    Work,
    check,
    judge,
)

__all__ = [
    "DEFAULT_PYTHON",
    "PEERS",
    "Peer",
    "PeersError",
    "Verdicts",
    "Work",
    "check",
    "judge",
]
