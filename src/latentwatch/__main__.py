"""The command ``latentwatch``, also as ``python -m latentwatch``."""

import sys


def main() -> None:
    """Run the command line; without the extra ``worker``, say in one line how to install it."""
    try:
        from latentwatch.stream.cli.main import main as command
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "latentwatch"):
            raise
        sys.exit(f"the command line needs {package}: pip install 'latentwatch[worker]'")
    command(prog_name="latentwatch")


if __name__ == "__main__":
    main()
