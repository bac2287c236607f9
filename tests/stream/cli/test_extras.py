"""A missing package is one line that names the extra, whatever the command."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from latentwatch.stream.cli.extras import EXTRAS, missing, need
from latentwatch.stream.cli.group import Group

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# distributions whose package has another name
PACKAGES = {
    "adversarial-robustness-toolbox": "art",
    "chaostoolkit": "chaoslib",
    "faust-streaming": "faust",
    "opentelemetry-api": "opentelemetry",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
}

WITHOUT = """
import sys
sys.modules["{package}"] = None  # as if it were not installed
from latentwatch.__main__ import main
sys.argv = ["latentwatch", *sys.argv[1:]]
main()
"""


def without(package: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = WITHOUT.format(package=package)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True
    )


def test_the_table_is_that_of_the_project() -> None:
    listed: dict[str, set[str]] = {}
    for extra, lines in PROJECT["optional-dependencies"].items():
        for line in lines:
            name = re.split(r"[\[<>=;]", line)[0]
            if extra != "dev" and name != PROJECT["name"]:
                package = PACKAGES.get(name, name.replace("-", "_"))
                listed.setdefault(package, set()).add(extra)
    del listed["click"]  # without it there is no command to say so
    assert {package: set(extras) for package, extras in EXTRAS.items()} == listed


@pytest.mark.parametrize(
    ("package", "arguments", "command", "extra"),
    [
        ("pyarrow", ("record", "--out", "nowhere"), "record", "record"),
        ("pyarrow", ("replay", "nowhere"), "replay", "record"),
        ("pyarrow", ("bench", "core"), "bench", "record"),
        ("sklearn", ("layers", "clean", "attack"), "layers", "record"),
        ("jinja2", ("inspect", "0123", "--out", "nowhere"), "inspect", "record"),
        ("cryptography", ("baseline", "keygen", "--out", "key.pem"), "baseline keygen", "sign"),
        ("apprise", ("notify", "--to", "json://host"), "notify", "notify"),
        ("fastapi", ("dashboard",), "dashboard", "dashboard"),
        ("faust", ("worker",), "worker", "worker"),
        ("art", ("demo",), "demo", "demo"),
        ("psutil", ("soak",), "soak", "demo,record"),
        ("chaoslib", ("experiment", "run", "{file}"), "experiment run", "chaos"),
    ],
)  # fmt: skip
def test_a_missing_package_is_one_line(
    package: str, arguments: tuple[str, ...], command: str, extra: str, tmp_path: Path
) -> None:
    file = tmp_path / "experiment.yaml"
    file.touch()
    ended = without(package, *(text.format(file=file) for text in arguments))
    assert ended.returncode == 1
    assert ended.stderr == (
        f"Error: `latentwatch {command}` needs {package}: pip install 'latentwatch[{extra}]'\n"
    )


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_the_command_line_one_line_names_its_extra(package: str) -> None:
    ended = without(package, "baseline", "--help")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f"needs {package}: pip install 'latentwatch[worker]'" in line


def test_packages_that_no_extra_has_are_errors_of_ours() -> None:
    @click.group(cls=Group)
    def group() -> None:
        """A group."""

    @group.command()
    def broken() -> None:
        import no_such_package  # type: ignore[import-not-found] # noqa: F401

    result = CliRunner().invoke(group, ["broken"])
    assert isinstance(result.exception, ModuleNotFoundError)


def test_nothing_is_needed_where_all_is_installed() -> None:
    assert missing(*PROJECT["optional-dependencies"]) == []
    with click.Context(click.Command("demo"), info_name="demo"):
        need("demo", "chaos")
