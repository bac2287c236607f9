"""``python -m producers.chaos``: traffic for chaos experiments."""

import os

# As in producers.signs: threads that spin take the cores from the broker and the worker.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from producers.chaos.cli import main

main(prog_name="python -m producers.chaos")
