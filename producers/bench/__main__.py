"""``python -m producers.bench BOOTSTRAP_SERVERS SECONDS [DEVICE]``: prints the figures as JSON."""

from __future__ import annotations

import json
import sys

from producers.bench.overhead import overhead

if __name__ == "__main__":
    json.dump(overhead(sys.argv[1], float(sys.argv[2]), *sys.argv[3:]), sys.stdout)
