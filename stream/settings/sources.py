"""Where settings come from and how to say what is wrong with them; used by ``stream.settings``."""

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

# Read by other parts than the settings: the broker's cache of jars, and the dashboard.
OTHER_VARIABLES = frozenset(
    {"LATENTWATCH_CACHE", *(f"{PREFIX}DASHBOARD_{name}" for name in _DASHBOARD_VARIABLES.split())}
)

RENAMED = {
    "calm_requests": "resolve_after_requests",
    "grace_seconds": "allowed_lateness_seconds",
}
"""Old names of settings, which are still read, and their names today."""

_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


def check_servers(value: str) -> str:
    """Return a list of Kafka addresses without blanks.

    Raises
    ------
    ValueError
        If a part is not ``host:port``, or there is none.
    """
    servers = [part.strip() for part in value.split(",")]
    for server in servers:
        match = _SERVER.fullmatch(server)
        if match is None or not 0 < int(match[1]) < 65536:
            raise ValueError(
                f"{server!r} is not host:port; write for example kafka-1:9092,kafka-2:9092"
            )
    return ",".join(servers)


def read_settings_file(path: str | Path | None) -> dict[str, Any]:
    """Return what the TOML file says, nothing without a file.

    Raises
    ------
    SettingsError
        If the file is missing, unreadable, or no TOML.
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
    """Settings under their names of today; a value under its new name counts before an old one."""
    found = {RENAMED[name]: value for name, value in values.items() if name in RENAMED}
    return found | {name: value for name, value in values.items() if name not in RENAMED}


def renamed_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings that the environment gives under old names."""
    values = {old: environment.get(PREFIX + old.upper(), "") for old in RENAMED}
    return with_new_names({old: value for old, value in values.items() if value})


def explain(error: ValidationError, known: Mapping[str, FieldInfo]) -> str:
    """Return one line per fault, with the names to correct and without the values given.

    Parameters
    ----------
    error
        What pydantic found.
    known
        The settings there are, by name.
    """
    return "\n".join(_explain_one(fault, known) for fault in error.errors(include_input=False))


def _explain_one(fault: Mapping[str, Any], known: Mapping[str, FieldInfo]) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    name = str(fault["loc"][0])
    if name not in known:
        return f"there is no setting {name!r}: see docs/settings.md for their names"
    return f"{name} ({PREFIX}{name.upper()}): {message[:1].lower()}{message[1:]}"


def unknown_variables(known: Mapping[str, FieldInfo]) -> list[str]:
    """Return the ``LATENTWATCH_`` variables of the environment that no setting reads.

    They are worth a warning and no more: Kubernetes adds variables of its own to every pod
    beside a service of the same name.
    """
    names = {PREFIX + name.upper() for name in (*known, *RENAMED)} | OTHER_VARIABLES
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in names)
