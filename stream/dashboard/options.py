"""The dashboard's options, checked before anything is opened."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from latentwatch.stream.core.errors import StreamError

__all__ = ["LOOPBACK_NAMES", "DashboardError", "Options", "is_loopback", "read_token"]

SHORTEST_TOKEN = 16

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class DashboardError(StreamError):
    """An option is missing or contradicts another one, or the history cannot be used."""


@dataclass(frozen=True)
class Options:
    """The dashboard's own options; Kafka's are in `latentwatch.stream.settings.Settings`.

    Parameters
    ----------
    history : Path
        SQLite file.
    host, port : str, int
        Address to listen on; port 0 picks a free port.
    token : str
        Required from people and programs; empty for none.
    trusted_header : str
        Header in which an authenticating proxy names the user; empty for none.
    trusted_proxies : tuple of networks
        Addresses from which that header is trusted.
    allowed_hosts : tuple of str
        Host names under which browsers may reach the dashboard, in addition to this machine's.
    tls_certificate, tls_key : Path or None
        PEM files, for HTTPS.
    workers : tuple of str
        Metrics URLs of the workers.
    sample_seconds : float
        Interval at which workers and lag are polled.
    inputs, fetch_inputs : Path or None, bool
        Where pictures behind input references may be loaded from.
    recording : str
        Recording to name in the commands to copy.
    keep_days : float
        How long published records are kept.
    """

    history: Path
    host: str = "127.0.0.1"
    port: int = 8470
    token: str = field(default="", repr=False)
    trusted_header: str = ""
    trusted_proxies: tuple[Network, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    workers: tuple[str, ...] = ()
    sample_seconds: float = 5.0
    inputs: Path | None = None
    fetch_inputs: bool = False
    recording: str = "./recording"
    keep_days: float = 90.0

    def __post_init__(self) -> None:
        self._check_access()
        for url in self.workers:
            _check_url(url)
        if self.tls_key and not self.tls_certificate:
            raise DashboardError("--tls-key needs --tls-certificate: give both, or neither")

    def _check_access(self) -> None:
        if self.token and self.trusted_header:
            raise DashboardError("a token and --trusted-header exclude each other: choose one")
        if self.token and len(self.token) < SHORTEST_TOKEN:
            raise DashboardError(
                f"the token is shorter than {SHORTEST_TOKEN} characters; generate one with "
                "`openssl rand -hex 32`"
            )
        if not is_loopback(self.host) and not self.token and not self.trusted_header:
            raise DashboardError(
                f"on {self.host} other machines could read everything: set a token (--token-file "
                "or LATENTWATCH_DASHBOARD_TOKEN), put an authenticating proxy in front of it "
                "(--trusted-header), or stay on 127.0.0.1"
            )

    @property
    def url(self) -> str:
        """URL for people on this machine; the port may still be 0."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls_certificate else 'http'}://{shown}:{self.port}/"


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine only.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """The token in a file, without surrounding white space.

    Raises
    ------
    DashboardError
        If the file cannot be read or is empty.
    """
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DashboardError(f"{path} cannot be read ({error}): put the token there") from error
    if not token:
        raise DashboardError(f"{path} is empty: put the token there")
    return token


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname)
        sound = sound and (parts.port is None or parts.port > 0) and parts.path in ("", "/")
    except ValueError:
        sound = False
    if not sound:
        raise DashboardError(
            f"{url!r} is not the address of a worker: write its metrics_host and metrics_port, as "
            "in http://127.0.0.1:9464"
        )
