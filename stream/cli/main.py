"""The command ``latentwatch``.

A command's module is imported when the command is used or listed. It imports what it needs inside
the command, so that ``latentwatch --help`` does not wait for torch.
"""

from __future__ import annotations

import click

from latentwatch import __version__
from latentwatch.stream.cli.group import LazyGroup

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "acls": "latentwatch.stream.cli.operate:acls",
    "baseline": "latentwatch.stream.cli.baseline:baseline",
    "bench": "latentwatch.lab.bench.command:bench",
    "broker": "latentwatch.lab.brokers.command:broker",
    "dashboard": "latentwatch.stream.cli.dashboard:dashboard",
    "demo": "latentwatch.lab.demo.command:demo",
    "evaluate": "latentwatch.lab.evaluate.command:evaluate",
    "experiment": "latentwatch.chaos.experiment.command:experiment",
    "export": "latentwatch.stream.cli.imports:export_group",
    "import": "latentwatch.stream.cli.imports:import_group",
    "inspect": "latentwatch.stream.cli.investigate:inspect",
    "layers": "latentwatch.stream.cli.investigate:layers",
    "notify": "latentwatch.stream.cli.notify:notify",
    "record": "latentwatch.stream.cli.record:record",
    "replay": "latentwatch.stream.cli.replay:replay",
    "soak": "latentwatch.lab.soak.command:soak",
    "topics": "latentwatch.stream.cli.operate:topics",
    "traces": "latentwatch.stream.cli.investigate:traces",
    "worker": "latentwatch.stream.cli.operate:worker",
}
"""Where each command is; no module is imported for this table."""


@click.group(
    cls=LazyGroup,
    commands_at=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="latentwatch")
def main() -> None:
    """Is somebody attacking our model right now, and with which requests?"""
