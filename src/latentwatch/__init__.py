"""Detects adversarial requests to a deployed neural network from its activations, on Kafka.

The most used names are here. They are imported on first use, so that ``import latentwatch`` needs
only what an inference service installs:

``capture``, ``BackgroundPublisher``, ``ActivationPublisher``
    Publish activations from an inference service; see `latentwatch.producers`.
``Baseline``, ``Monitor``
    Fit and test in a notebook; see `latentwatch.detector` (extra ``detector``).
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentwatch.detector import Baseline, Monitor
    from latentwatch.producers import ActivationPublisher, BackgroundPublisher, capture

__all__ = [
    "ActivationPublisher",
    "BackgroundPublisher",
    "Baseline",
    "Monitor",
    "__version__",
    "capture",
]

__version__ = version("latentwatch")

_HOME = {
    "ActivationPublisher": "latentwatch.producers",
    "BackgroundPublisher": "latentwatch.producers",
    "Baseline": "latentwatch.detector",
    "Monitor": "latentwatch.detector",
    "capture": "latentwatch.producers",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def discover(discover_system: bool = True) -> dict[str, Any]:
    """List the actions and probes of `latentwatch.chaos`, for ``chaos discover latentwatch``.

    Chaos Toolkit looks for a function of this name in a distribution's top-level package.
    """
    from latentwatch.chaos.control import discovered

    return discovered()
