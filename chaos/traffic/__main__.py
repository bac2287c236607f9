"""``python -m latentwatch.chaos.traffic``: traffic for chaos experiments."""

import os

# As in latentwatch.lab.signs: threads that spin take the cores from the broker and the worker.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from latentwatch.chaos.traffic.cli import main

main(prog_name="python -m latentwatch.chaos.traffic")
