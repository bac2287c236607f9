"""Exceptions of the traffic-sign demo, a branch of the tree in `latentwatch.producers.errors`.

::

    SignsError
    +-- PlanError        the plan of hours cannot be made from these numbers
    +-- NetworkError     no usable network: absent, damaged, or too weak to attack
    +-- AttackError      the attack cannot be computed
    +-- PlaybackError    the stream was not played completely
"""

from __future__ import annotations

from latentwatch.producers.errors import ProducerError


class SignsError(ProducerError):
    """Anything that the traffic-sign demo raises on purpose."""


class PlanError(SignsError):
    """The plan of hours cannot be made from the numbers given."""


class NetworkError(SignsError):
    """No usable network: the checkpoint is absent, damaged, or the network is too weak."""


class AttackError(SignsError):
    """The attack cannot be computed: a package is missing or the settings make no sense."""


class PlaybackError(SignsError):
    """The stream was not played completely: requests were dropped or never accepted."""
