"""The version of the software, as it is installed."""

from importlib.metadata import version

__all__ = ["VERSION"]

VERSION = version("latentwatch")
