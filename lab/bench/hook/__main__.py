"""``python -m latentwatch.lab.bench.hook BOOTSTRAP_SERVERS SECONDS [DEVICE]``: figures as JSON."""

from __future__ import annotations

import json
import sys

from latentwatch.lab.bench.hook.overhead import overhead

if __name__ == "__main__":
    json.dump(overhead(sys.argv[1], float(sys.argv[2]), *sys.argv[3:]), sys.stdout)
