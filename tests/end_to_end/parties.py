"""The roles that connect to a broker with authentication, and the traffic they send."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from latentwatch.producers import BackgroundPublisher
from latentwatch.stream.cli.main import main
from latentwatch.stream.core.topic_names import Topics
from latentwatch.stream.kafka.acls import ROLES, Role, acls_of
from latentwatch.stream.settings import Settings
from latentwatch.stream.signing.signatures import (
    make_key,
    public_file_of,
    read_private_key,
    sign,
    signature_url,
)
from tests.end_to_end.secure_broker import SecureBroker
from tests.end_to_end.traffic import HOUR_NS, ROWS, START_HOUR, Traffic

WITH_CERTIFICATE = ("publisher", "recorder", "investigator")
"""These roles use a certificate, the others a password."""

PASSWORD = "open-sesame-{role}"  # a test looks for it in what is logged
MESSAGES, ATTACKED = 16, 36


@dataclass(frozen=True)
class Parties:
    """All clients of the broker, each with the privileges of its role only."""

    secure: SecureBroker
    settings: dict[Role, Settings]

    @property
    def topics(self) -> Topics:
        return self.settings["worker"].topics()

    def run(self, role: Role, *words: str) -> str:
        """Run a command with the credentials of a role; return its output."""
        done = CliRunner().invoke(main, words, env=self.settings[role].environment())
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output


def sign_first(baselines: str, folder: Path) -> tuple[str, Path]:
    """Sign the baseline signs/1 but not lights/2; return the folder and the public key."""
    signed, key = folder / "baselines", folder / "signing.pem"
    shutil.copytree(baselines, signed)
    make_key(key)
    file = signed / "signs" / "1.safetensors"
    Path(signature_url(str(file))).write_bytes(sign(file.read_bytes(), read_private_key(key)))
    return str(signed), public_file_of(key)


def make_parties(secure: SecureBroker, baselines: str, folder: Path) -> Parties:
    """Create a user for every role and grant it the privileges of the role."""
    signed, public = sign_first(baselines, folder)
    common = {
        "topic_prefix": "vision.", "application_id": "vision", "baselines": signed,
        "require_signed_baselines": True, "baseline_public_keys": public,
        "idle_seconds": 1, "flush_seconds": 0.2, "partitions": 2, "output_partitions": 2,
        "log_level": "DEBUG",
    }  # fmt: skip
    found: dict[Role, Settings] = {}
    passwords: dict[str, str] = {
        role: PASSWORD.format(role=role) for role in ROLES if role not in WITH_CERTIFICATE
    }
    secure.add_users(passwords)
    for role in ROLES:
        by_name = role in passwords
        who = (
            secure.sasl(role, passwords[role])
            if by_name
            else secure.tls(secure.authority.issue(role))
        )
        found[role] = Settings(**common, **who)
        secure.allow(f"User:{'' if by_name else 'CN='}{role}", acls_of(role, found[role]))
    return Parties(secure, found)


def publish(
    settings: Settings, traffic: Traffic, model: str, version: str, messages: int
) -> BackgroundPublisher:
    """Publish an hour of requests, as a service does; the second half is attacked."""
    options = settings.kafka_options()
    publisher = BackgroundPublisher(
        options.pop("bootstrap_servers"),
        model,
        version,
        topic=settings.topics().activations,
        **options,
    )
    rng, step = np.random.default_rng(11), HOUR_NS // (messages * ROWS)
    with publisher:
        for part in range(messages):
            attacked = ATTACKED if part >= messages // 2 else 0
            activations, predicted = traffic.draw(ROWS, rng, attacked)
            numbers = np.arange(part * ROWS, (part + 1) * ROWS)
            publisher.publish(
                activations,
                predicted,
                request_ids=[f"{model}-{number}" for number in numbers],
                event_time_ns=START_HOUR * HOUR_NS + numbers * step,
            )
        publisher.flush(20.0)
    return publisher
