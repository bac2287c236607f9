"""Print what pip is to install for the image: the project's dependencies and those of extras.

python requirements.py [--without NAME] EXTRA ...
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path("pyproject.toml")


def requirements(project: Path, extras: list[str], without: list[str]) -> list[str]:
    """Dependencies of the project and of its extras, but those of these names."""
    told = tomllib.loads(project.read_text())["project"]
    optional = told["optional-dependencies"]
    if unknown := set(extras) - set(optional):
        sys.exit(f"there is no extra {', '.join(sorted(unknown))}: see {project}")
    wanted = [*told["dependencies"], *(line for extra in extras for line in optional[extra])]
    return sorted({line for line in wanted if _name(line) not in without})


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found[0] if found else ""


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    parser.add_argument("--without", action="append", default=[], metavar="NAME")
    given = parser.parse_args()
    sys.stdout.write("\n".join(requirements(PROJECT, given.extras, given.without)) + "\n")


if __name__ == "__main__":
    main()
