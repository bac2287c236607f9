"""The settings of the service, checked once, when they are read.

Sources of a value, strongest first:

1. an argument in code or on the command line,
2. the environment variable ``LATENTWATCH_<NAME>``,
3. ``KAFKA_BOOTSTRAP_SERVERS``, only for ``bootstrap_servers``,
4. the TOML file named by ``--settings`` or ``LATENTWATCH_SETTINGS_FILE``,
5. the default.

An empty environment variable counts as not set, so a Compose file may pass on all of them.
"""

import os
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from latentwatch.stream.core.errors import SettingsError
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.topic_names import Topics
from latentwatch.stream.settings.sources import (
    KAFKA_SERVERS_VARIABLE,
    PREFIX,
    check_servers,
    explain,
    read_settings_file,
    renamed_variables,
    with_new_names,
)

__all__ = ["Settings", "settings_page", "settings_table"]

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """The settings of one worker; frozen, with secrets hidden from ``repr``.

    Raises
    ------
    SettingsError
        If a value is malformed, unknown, or contradicts another; the message lists all faults.

    Examples
    --------
    >>> settings = Settings(bootstrap_servers="kafka:9092", topic_prefix="vision.")
    >>> settings.topics().alerts
    'vision.alerts'
    >>> Settings(lanes=0)
    Traceback (most recent call last):
    latentwatch.stream.core.errors.SettingsError: lanes (LATENTWATCH_LANES): input should be ...
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    settings_file: Path | None = Field(
        None, description="TOML file with any of the settings below, by name."
    )

    # The broker and how to reach it.
    bootstrap_servers: str = Field(
        "localhost:9092",
        description="Addresses of Kafka, `host:port`, separated by commas. "
        f"`{KAFKA_SERVERS_VARIABLE}` is also read.",
    )
    application_id: str = Field(
        "latentwatch",
        pattern=r"^[a-zA-Z0-9._-]{1,200}$",
        description="Consumer group of the workers; workers of one group share the partitions.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; needed with SASL."
    )
    sasl_username: str | None = Field(None, description="User name; needed with SASL.")
    sasl_password: SecretStr | None = Field(None, description="Password; needed with SASL.")
    ssl_cafile: Path | None = Field(
        None, description="PEM file of trusted authorities; those of the system by default."
    )
    ssl_certfile: Path | None = Field(None, description="PEM file of the client's certificate.")
    ssl_keyfile: Path | None = Field(
        None, description="PEM file of the client's key, unless `ssl_certfile` contains it."
    )
    ssl_keyfile_password: SecretStr | None = Field(
        None, description="Password of the client's key, if it has one."
    )

    # Detection.
    baselines: str = Field(
        "./baselines",
        min_length=1,
        description="Folder of the baselines, a path or an fsspec URL such as `s3://bucket/dir`. "
        "Files are named `<model>/<version>.safetensors`.",
    )
    require_signed_baselines: bool = Field(
        False,
        description="Refuse baselines that none of the `baseline_public_keys` has signed.",
    )
    baseline_public_keys: Path | None = Field(
        None,
        description="PEM file of the keys that may sign baselines. A wrong signature is refused; "
        "a missing one is refused with `require_signed_baselines`. Needs the extra `sign`.",
    )
    average_run_length: Annotated[int, Field(ge=256)] = Field(
        1_000_000,
        description="Benign requests, on average, between two false alarms of the whole system. "
        "Model-extraction alerts have a separate run length of the same value.",
    )
    lanes: Count = Field(
        1,
        description="How many lanes (model, version and partition) share the false-alarm budget. "
        "The run length of each lane is `average_run_length` times `lanes`.",
    )
    resolve_after_requests: Count = Field(
        512, description="Requests without an exceedance after which an alert resolves."
    )
    false_discovery_rate: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Tolerated share of benign requests among those flagged in an hour.",
    )
    feature_device: str = Field(
        "cpu",
        pattern=r"^(cpu|auto|cuda(:\d{1,3})?)$",
        description="Device of the feature maps: `cpu`, `cuda`, `cuda:1`, or `auto` for a CUDA "
        "device if torch finds one. Use the same for all workers of an `application_id`.",
    )

    # Time and batches.
    flush_seconds: PositiveSeconds = Field(
        0.5,
        description="Longest wait for more messages before a flush of outputs, lane state and "
        "offsets, in this order. Under load, flushes follow without a wait.",
    )
    take_max: Count = Field(
        256, description="Most messages in one batch; bounds the worker's memory."
    )
    allowed_lateness_seconds: Seconds = Field(
        300.0, description="How long an hour waits for late rows before it closes."
    )
    idle_seconds: Seconds = Field(
        60.0,
        description="Silence after which the wall clock closes a partition's hours; 0 = never, "
        "as in a replay.",
    )
    max_future_seconds: Seconds = Field(
        600.0, description="Rows whose event time is further in the future are refused."
    )

    # Topics.
    topic_prefix: str = Field("", description="Prefix of every topic name, for example `vision.`.")
    topic_activations: str = Field("activations", description="Input: activations of requests.")
    topic_alerts: str = Field("alerts", description="Output: alerts, firing and resolved.")
    topic_flagged_requests: str = Field("flagged-requests", description="Output: flagged requests.")
    topic_detection_rates: str = Field("detection-rates", description="Output: hourly rates.")
    topic_hour_sketches: str = Field(
        "hour-sketches", description="Internal: sketch of one hour of one partition."
    )
    topic_lane_state: str = Field("lane-state", description="Internal: state of each lane.")
    topic_dead_letter: str = Field(
        "dead-letter", description="Output: messages that were refused, with the reason."
    )
    partitions: Count = Field(
        6, description="Partitions of `activations` and `lane-state` at creation."
    )
    output_partitions: Count = Field(3, description="Partitions of the other topics at creation.")
    replication_factor: Annotated[int, Field(ge=1, le=32767)] = Field(
        1, description="Replicas of each partition at creation."
    )
    hour_sketch_retention_hours: Count = Field(
        48, description="How long `hour-sketches` keeps records, in hours."
    )
    max_message_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 30)] = Field(
        16 << 20, description="Largest message, in bytes, of `activations` and `lane-state`."
    )

    # Metrics and health.
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        0,
        description="Port of `/metrics`, `/livez` and `/readyz`; 0 = off. Needs the extra "
        "`metrics`.",
    )
    metrics_host: str = Field(
        "127.0.0.1", min_length=1, description="Address on which the port is opened."
    )
    stuck_seconds: PositiveSeconds = Field(
        20.0,
        description="`/livez` fails if messages wait and none was processed for this long.",
    )

    # Traces.
    traces: bool = Field(
        False,
        description="Export spans over OTLP/HTTP, configured by the `OTEL_*` variables. Needs the "
        "extra `traces`.",
    )

    # The log.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="`DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`."
    )
    log_format: Literal["console", "json"] = Field("console", description="`console` or `json`.")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            # Not chained: pydantic's own message quotes the input, which may be a password.
            raise SettingsError(explain(error, type(self).model_fields)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources as the module's documentation says."""
        given = init_settings().get("settings_file") or env_settings().get("settings_file")
        servers = os.environ.get(KAFKA_SERVERS_VARIABLE)
        plain = {"bootstrap_servers": servers} if servers else {}
        named = [with_new_names(init_settings()), renamed_variables(os.environ)]
        return (
            InitSettingsSource(settings_cls, init_kwargs=named[0]),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=named[1]),
            InitSettingsSource(settings_cls, init_kwargs=plain),
            InitSettingsSource(settings_cls, init_kwargs=with_new_names(read_settings_file(given))),
        )

    @field_validator("bootstrap_servers")
    @classmethod
    def _servers(cls, value: str) -> str:
        return check_servers(value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sasl(self) -> Self:
        needed = {
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_username": self.sasl_username,
            "sasl_password": self.sasl_password,
        }
        missing = [name for name, value in needed.items() if value is None]
        if self.security_protocol.startswith("SASL_"):
            if missing:
                raise ValueError(
                    f"security_protocol {self.security_protocol} needs {' and '.join(missing)}"
                )
        elif len(missing) < len(needed):
            raise ValueError(
                f"SASL settings have no effect with security_protocol {self.security_protocol}: "
                "set it to SASL_SSL (or SASL_PLAINTEXT), or leave them out"
            )
        return self

    @model_validator(mode="after")
    def _tls(self) -> Self:
        files = (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)
        if any(files) and not self.security_protocol.endswith("SSL"):
            raise ValueError(
                f"TLS files have no effect with security_protocol {self.security_protocol}: "
                "set it to SSL or SASL_SSL, or leave them out"
            )
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("ssl_keyfile needs ssl_certfile: give the certificate of the key")
        return self

    @model_validator(mode="after")
    def _signatures(self) -> Self:
        if self.require_signed_baselines and self.baseline_public_keys is None:
            raise ValueError(
                "require_signed_baselines needs baseline_public_keys: give the PEM file that "
                "`latentwatch baseline keygen` wrote next to the private key"
            )
        return self

    @model_validator(mode="after")
    def _topic_names(self) -> Self:
        self.topics()
        return self

    def topics(self) -> Topics:
        """Return the full names of the topics, with the prefix."""
        return Topics(
            **{name: self.topic_prefix + getattr(self, f"topic_{name}") for name in Topics.roles()}
        )

    def policy(self) -> Policy:
        """Return the settings that lanes need."""
        return Policy(
            average_run_length=self.average_run_length,
            lanes=self.lanes,
            resolve_after_requests=self.resolve_after_requests,
            allowed_lateness_ns=int(self.allowed_lateness_seconds * 1e9),
        )

    def environment(self) -> dict[str, str]:
        """Return environment variables for a child process; secrets are in clear text."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            PREFIX + name.upper(): (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
            for name, value in values.items()
            if value is not None and name != "settings_file"
        }

    def kafka_ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context of the connections to Kafka, None without TLS.

        Raises
        ------
        SettingsError
            If a file is missing or not a PEM file, or the key's password is wrong.
        """
        if not self.security_protocol.endswith("SSL"):
            return None
        password = self.ssl_keyfile_password
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                # The password is never None: OpenSSL would ask for it on the terminal.
                secret = password.get_secret_value() if password else ""
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, lambda: secret)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"the TLS files cannot be used ({error}): check ssl_cafile, ssl_certfile, "
                "ssl_keyfile (readable PEM files) and ssl_keyfile_password"
            ) from error
        return context

    def kafka_options(self) -> dict[str, Any]:
        """Return the arguments of every aiokafka client; the password is in clear text."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
        }
        if (context := self.kafka_ssl_context()) is not None:
            options["ssl_context"] = context
        if self.sasl_mechanism and self.sasl_password:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value()
        return options


def settings_table() -> str:
    """Return the Markdown table of all settings: name, variable, default, meaning."""
    rows = ["| setting | environment variable | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def settings_page() -> str:
    """Return the page ``docs/settings.md``."""
    return (
        "# Settings\n\n"
        "A value is taken from the first of these that has one: the command line, the environment "
        f"variable, `{KAFKA_SERVERS_VARIABLE}` (only for the servers), the TOML file named by "
        f"`--settings` or `{PREFIX}SETTINGS_FILE`, the default. The file uses the names in the "
        "first column as top-level keys. An empty variable counts as not set. Commands warn of "
        f"misspelt `{PREFIX}` variables when they start.\n\n" + settings_table()
    )
