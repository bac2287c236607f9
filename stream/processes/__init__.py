"""The one launcher of child processes: workers, players, dashboards and what else must not be left.

`child` starts and stops them. `guard` is the program that runs between us and each of them, and
ends it when we are gone.
"""
