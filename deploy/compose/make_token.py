"""Write the dashboard's token into a file: that of the environment, or once a random one.

python make_token.py FILE
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

VARIABLE = "LATENTWATCH_DASHBOARD_TOKEN"


def main() -> None:
    """Write it, and never show it."""
    file = Path(sys.argv[1])
    given = os.environ.get(VARIABLE, "").strip()
    if not given and file.exists():
        sys.stdout.write(f"{file} stays as it is\n")
        return
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(f"{given or secrets.token_hex(32)}\n")
    new.replace(file)
    sys.stdout.write(f"the token is in {file}\n")


if __name__ == "__main__":
    main()
