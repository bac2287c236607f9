"""``python -m latentwatch``: the command ``latentwatch``."""

from latentwatch.stream.cli.main import main

main(prog_name="latentwatch")
