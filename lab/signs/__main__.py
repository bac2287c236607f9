"""``python -m latentwatch.lab.signs``: the commands of the traffic-sign demo."""

import os

# OpenMP's threads spin while they wait for each other. If other processes need the cores as well,
# such as a broker and a worker, training took three times as long. Sleeping while waiting costs
# nothing measurable on an idle machine. Torch reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from latentwatch.lab.signs.cli import main

main(prog_name="python -m latentwatch.lab.signs")
