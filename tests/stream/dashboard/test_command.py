"""``latentwatch dashboard``: its options, and how it refuses bad ones."""

import socket
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from latentwatch.stream.cli.dashboard import PREFIX, dashboard
from latentwatch.stream.cli.main import main
from latentwatch.stream.settings.sources import OTHER_VARIABLES


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["dashboard", *map(str, arguments)])


def test_no_variable_of_the_dashboard_counts_as_an_unknown_setting() -> None:
    names = {o.name for o in dashboard.params if isinstance(o, click.Option)} - {"settings_file"}
    read = {f"{PREFIX}_{name.upper()}" for name in names if name} | {f"{PREFIX}_TOKEN"}
    assert {name for name in OTHER_VARIABLES if name.startswith(PREFIX)} == read


def test_environment_variables_set_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}_HOST", "0.0.0.0")
    monkeypatch.setenv(f"{PREFIX}_WORKERS", "http://one:9464 two")
    refused = run()
    assert refused.exit_code == 1
    assert "set a token (--token-file or LATENTWATCH_DASHBOARD_TOKEN)" in refused.stderr
    monkeypatch.setenv(f"{PREFIX}_TOKEN", "0123456789abcdef")
    assert "'two' is not the address of a worker" in run().stderr


def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = run("--port", str(taken.getsockname()[1]), "--history", tmp_path / "h")
    assert refused.exit_code == 1
    (line,) = refused.stderr.strip().splitlines()
    assert "choose another --port" in line
    assert not (tmp_path / "h").exists()


def test_a_proxy_that_is_not_an_address_is_a_usage_error() -> None:
    refused = run("--trusted-proxy", "proxy.example")
    assert refused.exit_code == 2
    assert "10.0.0.0/8" in refused.stderr
