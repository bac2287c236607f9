"""Which model versions get series of their own: invented names must not fill the memory."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MOST_NAMES", "OTHER", "Name", "Names"]

MOST_NAMES = 200
"""Model versions, and likewise lanes, with series of their own in one worker."""


class Name(NamedTuple):
    """Labels of a series."""

    model: str
    version: str


OTHER = Name("other", "")
"""Stands for every model version without series of its own; no real version is empty."""


class Names:
    """Gives the first `most` judged model versions their own labels, for as long as it lives.

    Parameters
    ----------
    most : int

    Examples
    --------
    >>> names = Names(most=1)
    >>> names.of("resnet", "7", judged=True)
    Name(model='resnet', version='7')
    >>> names.of("resnet", "8", judged=True)
    Name(model='other', version='')
    >>> names.of("resnet", "7", judged=False)
    Name(model='resnet', version='7')
    """

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._known: set[Name] = set()

    def of(self, model: str, version: str, *, judged: bool) -> Name:
        """Labels of a model version; one without a baseline does not get any of its own."""
        name = Name(model, version)
        if name in self._known:
            return name
        if not judged or len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name
