"""Other drift detectors, asked about the same windows in a Python of their own.

They cannot be installed beside latentwatch: alibi-detect and frouros need numpy before 2.
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
