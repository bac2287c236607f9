"""``python -m latentwatch.lab.signs``: the commands of the traffic-sign demo."""

import os

# OpenMP's threads spin while they wait for each other, and where other processes want the cores as
# well, a broker and a worker say, they spin on each other's time: training took three times as
# long. Waiting asleep costs nothing measurable on an idle machine. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from latentwatch.lab.signs.cli import main

main(prog_name="python -m latentwatch.lab.signs")
