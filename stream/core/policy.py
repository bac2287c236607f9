"""What the operator decides of every lane; apart, so that settings need not import the detector."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides.

    Parameters
    ----------
    average_run_length : float
        Benign requests between two false alarms of the whole system.
    lanes : int
        Lanes that share it.
    resolve_after_requests : int
        Requests without an alarm after which an alert resolves.
    allowed_lateness_ns : int
        How long an hour waits for late rows, in event time.
    """

    average_run_length: float
    lanes: int = 1
    resolve_after_requests: int = 512
    allowed_lateness_ns: int = 300 * 10**9
