"""Print the requirements of the image: dependencies of the project and of some extras.

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
    """Dependencies of the project and of these extras, except packages in `without`."""
    described = tomllib.loads(project.read_text())["project"]
    optional = described["optional-dependencies"]
    wanted, open_extras, seen = list(described["dependencies"]), list(extras), set[str]()
    while open_extras:
        extra = open_extras.pop()
        if extra not in optional:
            sys.exit(f"there is no extra {extra}: see the optional dependencies in {project}")
        seen.add(extra)
        for line in optional[extra]:
            # an extra may include others: "latentwatch[worker]"
            own = re.fullmatch(rf"{described['name']}\[([^\]]+)\]", line)
            if own is None:
                wanted.append(line)
            else:
                open_extras += [name for name in own[1].split(",") if name not in seen]
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
