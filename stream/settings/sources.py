"""Where settings come from, and how their errors are explained."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from latentwatch.stream.core.errors import SettingsError

__all__ = [
    "KAFKA_SERVERS_VARIABLE",
    "PREFIX",
    "check_servers",
    "explain",
    "nearest_variable",
    "read_settings_file",
    "renamed_variables",
    "unknown_variables",
    "with_new_names",
]

PREFIX = "LATENTWATCH_"
KAFKA_SERVERS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"

_DASHBOARD_VARIABLES = (
    "HOST PORT HISTORY KEEP_DAYS WORKERS SAMPLE_SECONDS INPUTS FETCH_INPUTS RECORDING TOKEN "
    "TOKEN_FILE TRUSTED_HEADER TRUSTED_PROXIES ALLOWED_HOSTS TLS_CERTIFICATE TLS_KEY"
)

OTHER_VARIABLES = frozenset(
    {"LATENTWATCH_CACHE", *(f"{PREFIX}DASHBOARD_{name}" for name in _DASHBOARD_VARIABLES.split())}
)
"""Variables that are not settings: the folder of caches, and the options of the dashboard."""

_SERVICE_LINK = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")

RENAMED = {
    "calm_requests": "resolve_after_requests",
    "grace_seconds": "allowed_lateness_seconds",
}
"""Old names of settings, which are still read, and their current names."""

_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


def check_servers(value: str) -> str:
    """Return Kafka addresses without blanks.

    Raises
    ------
    ValueError
        If there is no address, or one is not ``host:port``.
    """
    servers = [part.strip() for part in value.split(",")]
    for server in servers:
        match = _SERVER.fullmatch(server)
        if match is None or not 0 < int(match[1]) < 65536:
            raise ValueError(
                f"{server!r} is not host:port: write for example kafka-1:9092,kafka-2:9092"
            )
    return ",".join(servers)


def read_settings_file(path: str | Path | None) -> dict[str, Any]:
    """Return the values in the TOML file; none without a file.

    Raises
    ------
    SettingsError
        If the file is missing, unreadable, or not TOML.
    """
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"the settings file {path} cannot be read ({error.strerror}): "
            f"correct --settings or {PREFIX}SETTINGS_FILE"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"the settings file {path} is not TOML ({error}): correct that line"
        ) from error


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under their current names, which win over old names."""
    found = {RENAMED[name]: value for name, value in values.items() if name in RENAMED}
    return found | {name: value for name, value in values.items() if name not in RENAMED}


def renamed_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings that the environment sets under old names."""
    values = {old: environment.get(PREFIX + old.upper(), "") for old in RENAMED}
    return with_new_names({old: value for old, value in values.items() if value})


def explain(error: ValidationError, known: Mapping[str, FieldInfo]) -> str:
    """Return one line per fault, with the names to correct and without the given values.

    Parameters
    ----------
    error
        What pydantic found.
    known
        All settings, by name.
    """
    return "\n".join(_explain_one(fault, known) for fault in error.errors(include_input=False))


def _explain_one(fault: Mapping[str, Any], known: Mapping[str, FieldInfo]) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    name = str(fault["loc"][0])
    if name not in known:
        return f"there is no setting {name!r}: see docs/settings.md for the names"
    return f"{name} ({PREFIX}{name.upper()}): {message[:1].lower()}{message[1:]}"


def unknown_variables(known: Mapping[str, FieldInfo]) -> list[str]:
    """Return the ``LATENTWATCH_`` variables of the environment that nothing reads.

    Those that Kubernetes adds to the pods next to a service named latentwatch are not among them.
    """
    names = _variables(known)
    return sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name not in names and not _is_service_link(name, value)
    )


def nearest_variable(name: str, known: Mapping[str, FieldInfo]) -> str | None:
    """Return the known variable whose name is most like this one, None if none is similar."""
    near = difflib.get_close_matches(name, _variables(known), n=1, cutoff=0.8)
    return near[0] if near else None


def _variables(known: Mapping[str, FieldInfo]) -> frozenset[str]:
    return OTHER_VARIABLES.union(PREFIX + name.upper() for name in (*known, *RENAMED))


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes added the variable: ``..._SERVICE_HOST``, ``..._PORT=tcp://...``."""
    if name.endswith("_PORT") and _SERVICE_URL.match(value):
        return True
    return _SERVICE_LINK.fullmatch(name) is not None
