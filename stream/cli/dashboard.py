"""``latentwatch dashboard``: what is going on, in a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from latentwatch.stream.cli.extras import need
from latentwatch.stream.cli.options import load_settings, settings_option

__all__ = ["PREFIX", "dashboard"]

PREFIX = "LATENTWATCH_DASHBOARD"
"""Of the environment variables; the name of the option follows."""

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_THERE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _option(name: str, meaning: str, *names: str, **values: Any) -> Any:
    return click.option(name, *names, help=meaning, **values)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": PREFIX})
@_option("--host", "Address to listen on; any but this machine's own needs a token or a proxy.",
         default="127.0.0.1")  # fmt: skip
@_option("--port", "0 takes a free one.", type=click.IntRange(0, 65535), default=8470)
@_option("--history", "SQLite file of the past.", type=_FILE, default="dashboard.sqlite")
@_option("--keep-days", "How long the past is kept.",
         type=click.FloatRange(min=0.01), default=90.0)  # fmt: skip
@_option("--worker", "Metrics address of a worker, any number of times: http://127.0.0.1:9464. "
         "Shows its health and each of its windows.",
         "workers", multiple=True, metavar="URL")  # fmt: skip
@_option("--sample-seconds", "How often workers are asked.",
         type=click.FloatRange(min=0.2), default=5.0)  # fmt: skip
@_option("--inputs", "Show pictures that input references name below this folder.", type=_FOLDER)
@_option("--fetch-inputs", "Follow references to web servers and object stores too; producers "
         "choose them.", is_flag=True)  # fmt: skip
@_option("--recording", "Recording that the commands to copy name.", default="./recording")
@_option("--token-file", f"File with the token that people must show; {PREFIX}_TOKEN may hold it "
         "instead.", type=_THERE)  # fmt: skip
@_option("--trusted-header", "Header in which an authenticating proxy (OIDC) names the user, such "
         "as X-Forwarded-Email.", default="", metavar="NAME")  # fmt: skip
@_option("--trusted-proxy", "Address or network that this header is believed from; may be "
         "repeated.", "trusted_proxies", multiple=True, metavar="ADDRESS",
         default=("127.0.0.1", "::1"))  # fmt: skip
@_option("--allowed-host", "Name by which browsers may ask for it, besides addresses; may be "
         "repeated.", "allowed_hosts", multiple=True, metavar="NAME")  # fmt: skip
@_option("--tls-certificate", "PEM file: serve HTTPS.", type=_THERE)
@_option("--tls-key", "PEM file of its key.", type=_THERE)
@settings_option
def dashboard(
    token_file: Path | None,
    trusted_proxies: tuple[str, ...],
    settings_file: Path | None,
    **options: Any,
) -> None:
    """Show rates, alerts, workers and dead letters in a browser, as they come.

    It reads the output topics and keeps them in a file, so that a restart shows the past. Options
    may be environment variables: LATENTWATCH_DASHBOARD_PORT and so on. See docs/dashboard.md.
    """
    need("dashboard")
    from latentwatch.stream.dashboard.options import Options, read_token
    from latentwatch.stream.dashboard.run import run_dashboard
    from latentwatch.stream.kafka.connection import check_connection
    from latentwatch.stream.settings.logs import configure_logs

    token = read_token(token_file) if token_file else os.environ.get(f"{PREFIX}_TOKEN", "").strip()
    proxies = tuple(_network(text) for text in trusted_proxies)
    names = tuple(name.lower() for name in options.pop("allowed_hosts"))
    chosen = Options(token=token, trusted_proxies=proxies, allowed_hosts=names, **options)
    settings = load_settings(settings_file)
    configure_logs(settings)
    check_connection(settings, "dashboard")
    run_dashboard(settings, chosen, lambda url: click.echo(f"the dashboard is at {url}"))


def _network(text: str) -> Any:
    import ipaddress

    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise click.BadParameter(
            f"--trusted-proxy {text!r} is no address or network ({error}): write 10.0.0.7 or "
            "10.0.0.0/8"
        ) from error
