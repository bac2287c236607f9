from pathlib import Path

import pytest
from pydantic import SecretStr

from latentwatch.stream.core.errors import SettingsError, StreamError
from latentwatch.stream.settings import Settings, settings_page, settings_table
from latentwatch.stream.settings.sources import unknown_variables

ROOT = Path(__file__).parents[3]

SASL = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "ada",
    "sasl_password": "open sesame",
}


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "latentwatch.toml"
    path.write_text('bootstrap_servers = "file:9092"\nlanes = 5\n')
    return path


def test_defaults_are_valid_and_frozen() -> None:
    settings = Settings()
    assert settings.bootstrap_servers == "localhost:9092"
    with pytest.raises(ValueError, match="frozen"):
        settings.lanes = 2  # type: ignore[misc]


def test_environment_sets_any_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWATCH_FLUSH_SECONDS", "0.5")
    monkeypatch.setenv("LATENTWATCH_LOG_LEVEL", "debug")
    settings = Settings()
    assert (settings.flush_seconds, settings.log_level) == (0.5, "DEBUG")


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWATCH_SASL_PASSWORD", "")
    monkeypatch.setenv("LATENTWATCH_LANES", "")
    assert Settings() == Settings.model_construct(**Settings().model_dump())
    assert (Settings().sasl_password, Settings().lanes) == (None, 1)


def test_sources_in_order_of_strength(monkeypatch: pytest.MonkeyPatch, settings_file: Path) -> None:
    def servers(**given: str) -> str:
        return Settings(settings_file=settings_file, **given).bootstrap_servers

    assert servers() == "file:9092"
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "plain:9092")
    assert servers() == "plain:9092"
    monkeypatch.setenv("LATENTWATCH_BOOTSTRAP_SERVERS", "prefixed:9092")
    assert servers() == "prefixed:9092"
    assert servers(bootstrap_servers="argument:9092") == "argument:9092"


def test_settings_file_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, settings_file: Path
) -> None:
    monkeypatch.setenv("LATENTWATCH_SETTINGS_FILE", str(settings_file))
    assert Settings().lanes == 5


def test_missing_settings_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read .* correct --settings"):
        Settings(settings_file=tmp_path / "none.toml")


def test_malformed_settings_file_is_refused(settings_file: Path) -> None:
    settings_file.write_text("lanes = = 5")
    with pytest.raises(SettingsError, match="is not TOML"):
        Settings(settings_file=settings_file)


def test_unknown_name_in_the_settings_file_is_refused(settings_file: Path) -> None:
    settings_file.write_text("average_run_lenght = 5")
    with pytest.raises(SettingsError, match="no setting 'average_run_lenght'"):
        Settings(settings_file=settings_file)


def test_unknown_variables_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWATCH_AVERAGE_RUN_LENGHT", "5")
    monkeypatch.setenv("LATENTWATCH_LANES", "5")
    monkeypatch.setenv("LATENTWATCH_CACHE", "elsewhere")
    assert unknown_variables(Settings.model_fields) == ["LATENTWATCH_AVERAGE_RUN_LENGHT"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("average_run_length", 0),
        ("average_run_length", 255),
        ("lanes", -1),
        ("false_discovery_rate", 1.0),
        ("false_discovery_rate", "nan"),
        ("flush_seconds", 0),
        ("allowed_lateness_seconds", "inf"),
        ("idle_seconds", -1),
        ("max_message_bytes", 1),
        ("application_id", "a b"),
        ("log_format", "xml"),
        ("baselines", ""),
        ("security_protocol", "TLS"),
        ("bootstrap_servers", ""),
        ("bootstrap_servers", "kafka"),
        ("bootstrap_servers", "kafka:0"),
        ("bootstrap_servers", "kafka:70000"),
        ("bootstrap_servers", "kafka:9092,"),
        ("bootstrap_servers", "kafka://kafka:9092"),
    ],
)
def test_impossible_value_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} \(LATENTWATCH_{name.upper()}\): "):
        Settings(**{name: value})


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(lanes=0, take_max=0)
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == ["take_max", "lanes"][
        ::-1
    ]


def test_addresses_may_have_blanks_and_ipv6() -> None:
    settings = Settings(bootstrap_servers="kafka-1:9092, [::1]:9093")
    assert settings.bootstrap_servers == "kafka-1:9092,[::1]:9093"


def test_zero_means_never_or_off() -> None:
    settings = Settings(idle_seconds=0, allowed_lateness_seconds=0)
    assert (settings.idle_seconds, settings.allowed_lateness_seconds) == (0, 0)


@pytest.mark.parametrize("missing", ["sasl_mechanism", "sasl_username", "sasl_password"])
def test_sasl_needs_mechanism_user_and_password(missing: str) -> None:
    given = {name: value for name, value in SASL.items() if name != missing}
    with pytest.raises(SettingsError, match=f"SASL_PLAINTEXT needs {missing}"):
        Settings(**given)


def test_sasl_without_its_protocol_is_refused() -> None:
    with pytest.raises(SettingsError, match="no effect with security_protocol PLAINTEXT"):
        Settings(**{**SASL, "security_protocol": "PLAINTEXT"})


def test_tls_files_without_tls_are_refused() -> None:
    with pytest.raises(SettingsError, match="TLS files have no effect"):
        Settings(ssl_cafile="ca.pem")


def test_key_without_certificate_is_refused() -> None:
    with pytest.raises(SettingsError, match="ssl_keyfile needs ssl_certfile"):
        Settings(security_protocol="SSL", ssl_keyfile="key.pem")


def test_secrets_show_in_no_repr_and_no_error() -> None:
    settings = Settings(**SASL)
    assert isinstance(settings.sasl_password, SecretStr)
    assert "sesame" not in repr(settings) + str(settings) + str(settings.model_dump())
    with pytest.raises(SettingsError) as caught:
        Settings(**{**SASL, "sasl_mechanism": "GUESS", "lanes": 0})
    assert "sesame" not in str(caught.value) + repr(caught.value.__cause__)


def test_options_of_clients_without_security() -> None:
    options = Settings(bootstrap_servers="a:1,b:2").kafka_options()
    assert options == {"bootstrap_servers": "a:1,b:2", "security_protocol": "PLAINTEXT"}


def test_options_of_clients_with_sasl_and_tls() -> None:
    options = Settings(**{**SASL, "security_protocol": "SASL_SSL"}).kafka_options()
    context = options.pop("ssl_context")
    assert context.check_hostname
    assert options == {
        "bootstrap_servers": "localhost:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ada",
        "sasl_plain_password": "open sesame",
    }


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_certfile"])
def test_unusable_tls_file_is_named(tmp_path: Path, name: str) -> None:
    settings = Settings(security_protocol="SSL", **{name: tmp_path / "none.pem"})
    with pytest.raises(SettingsError, match=f"check .*{name}"):
        settings.kafka_ssl_context()
    (tmp_path / "none.pem").write_text("no PEM")
    with pytest.raises(SettingsError, match=f"check .*{name}"):
        settings.kafka_ssl_context()


def test_topics_have_the_prefix() -> None:
    topics = Settings(topic_prefix="vision.", topic_alerts="alarms").topics()
    assert (topics.activations, topics.alerts) == ("vision.activations", "vision.alarms")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 250])
def test_impossible_topic_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"topic_alerts: .* is not a valid topic name"):
        Settings(topic_alerts=name)


def test_two_parts_cannot_share_a_topic() -> None:
    with pytest.raises(SettingsError, match="topic_alerts and topic_activations are both"):
        Settings(topic_alerts="activations")


def test_environment_gives_a_child_process_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, settings_file: Path
) -> None:
    settings = Settings(settings_file=settings_file, **SASL, lanes=3, idle_seconds=0)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    child = Settings()
    assert child.model_dump(exclude={"settings_file"}) == settings.model_dump(
        exclude={"settings_file"}
    )


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_documentation_has_the_table_of_settings() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == settings_page(), (
        "docs/settings.md is out of date; renew it with: python -c 'from "
        "latentwatch.stream.settings import settings_page; "
        'open("docs/settings.md", "w").write(settings_page())\''
    )
    assert settings_table() in page


def test_errors_are_one_tree() -> None:
    import latentwatch.stream.core.errors as errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), StreamError)
        assert name in (errors.__doc__ or "")


def test_old_names_of_settings_are_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings(grace_seconds=7).allowed_lateness_seconds == 7
    file = tmp_path / "settings.toml"
    file.write_text("calm_requests = 64\n")
    assert Settings(settings_file=file).resolve_after_requests == 64
    monkeypatch.setenv("LATENTWATCH_CALM_REQUESTS", "128")
    assert Settings(settings_file=file).resolve_after_requests == 128
    monkeypatch.setenv("LATENTWATCH_RESOLVE_AFTER_REQUESTS", "256")
    assert Settings(settings_file=file).resolve_after_requests == 256
    assert unknown_variables(Settings.model_fields) == []
