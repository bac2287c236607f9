"""Benchmarks of ``latentwatch bench``: speed, with the machine and the versions it was measured on.

One file per subject: `core`, `device` and `online_peers` (the detector), `recordings`, `merging`,
`kafka`, `worker`, `latency` (with `fleet`, which starts workers), and `inference` (with `hook`,
which runs beside the model). `traffic` makes their messages. `extraction` and `hostility` are
commands of their own, for figures of the docs.
"""
