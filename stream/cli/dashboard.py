"""``latentwatch dashboard``: rates, alerts and workers in a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from latentwatch.stream.cli.extras import need
from latentwatch.stream.cli.options import load_settings, settings_option

__all__ = ["PREFIX", "dashboard"]

PREFIX = "LATENTWATCH_DASHBOARD"
"""Prefix of its environment variables; the option's name follows."""

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_THERE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _option(name: str, meaning: str, *names: str, **values: Any) -> Any:
    return click.option(name, *names, help=meaning, **values)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": PREFIX})
@_option("--host", "Address to listen on. Any but this machine's own needs a token or a proxy.",
         default="127.0.0.1")  # fmt: skip
@_option(
    "--port", "Port to listen on; 0 takes a free one.", type=click.IntRange(0, 65535), default=8470
)
@_option("--history", "SQLite file with the history.", type=_FILE, default="dashboard.sqlite")
@_option("--keep-days", "How many days of history to keep.",
         type=click.FloatRange(min=0.01), default=90.0)  # fmt: skip
@_option("--worker", "Metrics address of a worker, such as http://127.0.0.1:9464; may be repeated. "
         "Its health and its windows are then shown.",
         "workers", multiple=True, metavar="URL")  # fmt: skip
@_option("--sample-seconds", "Seconds between two requests to each worker.",
         type=click.FloatRange(min=0.2), default=5.0)  # fmt: skip
@_option("--inputs", "Show pictures from this folder that input references name.", type=_FOLDER)
@_option("--fetch-inputs", "Also follow references to web servers and object stores; producers "
         "choose those addresses.", is_flag=True)  # fmt: skip
@_option("--recording", "Recording that is named in the commands to copy.", default="./recording")
@_option("--token-file", f"File with the access token; {PREFIX}_TOKEN may hold the token "
         "instead.", type=_THERE)  # fmt: skip
@_option("--trusted-header", "Header in which an authenticating proxy (OIDC) names the user, such "
         "as X-Forwarded-Email.", default="", metavar="NAME")  # fmt: skip
@_option("--trusted-proxy", "Address or network from which this header is trusted; may be "
         "repeated.", "trusted_proxies", multiple=True, metavar="ADDRESS",
         default=("127.0.0.1", "::1"))  # fmt: skip
@_option("--allowed-host", "Host name that browsers may use, in addition to addresses; may be "
         "repeated.", "allowed_hosts", multiple=True, metavar="NAME")  # fmt: skip
@_option("--tls-certificate", "PEM file of the certificate: serve HTTPS.", type=_THERE)
@_option("--tls-key", "PEM file of the certificate's key.", type=_THERE)
@settings_option
def dashboard(
    token_file: Path | None,
    trusted_proxies: tuple[str, ...],
    settings_file: Path | None,
    **options: Any,
) -> None:
    """Show rates, alerts, workers and dead letters in a browser.

    The dashboard reads the output topics and keeps them in a file, so the history survives a
    restart. Options can also be set by environment variables, such as LATENTWATCH_DASHBOARD_PORT.
    See docs/dashboard.md.
    """
    need("dashboard")
    from latentwatch.stream.dashboard.options import Options, read_token
    from latentwatch.stream.dashboard.run import run_dashboard
    from latentwatch.stream.kafka.connection import check_connection

    token = read_token(token_file) if token_file else os.environ.get(f"{PREFIX}_TOKEN", "").strip()
    proxies = tuple(_network(text) for text in trusted_proxies)
    names = tuple(name.lower() for name in options.pop("allowed_hosts"))
    chosen = Options(token=token, trusted_proxies=proxies, allowed_hosts=names, **options)
    settings = load_settings(settings_file, logs=True)
    check_connection(settings, "dashboard")
    run_dashboard(settings, chosen, lambda url: click.echo(f"the dashboard is at {url}"))


def _network(text: str) -> Any:
    import ipaddress

    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise click.BadParameter(
            f"--trusted-proxy {text!r} is not an address or a network ({error}): write 10.0.0.7 or "
            "10.0.0.0/8"
        ) from error
