"""A real Kafka with authentication and ACLs: SCRAM and client certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from latentwatch.lab.brokers import KafkaBroker
from latentwatch.lab.brokers.kafka_files import MoreListeners, free_port
from latentwatch.stream.kafka.acls import Acl
from latentwatch.stream.settings import Settings

HOST = "127.0.0.1"
DAY = timedelta(days=1)
ADMIN_SECONDS = 30.0

Key = ec.EllipticCurvePrivateKey


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """A certificate authority that writes certificates as PEM files into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        built = self._builder(self._name, self._key, now - 2 * DAY, now + DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file = folder / f"{name}.pem"
        self._write(self.file, built.sign(self._key, hashes.SHA256()))

    def issue(self, name: str, *, expired: bool = False) -> Path:
        """A certificate and its key, in one file; for 127.0.0.1 as a server."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        until = now - DAY if expired else now + DAY
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))])
        built = self._builder(_name(name), key, now - 2 * DAY, until).add_extension(
            address, critical=False
        )
        path = self._folder / f"{name}-{self.file.name}"
        self._write(path, built.sign(self._key, hashes.SHA256()), key)
        return path

    def _builder(
        self, subject: x509.Name, key: Key, since: datetime, until: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
        )

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate, key: Key | None = None) -> None:
        content = certificate.public_bytes(Encoding.PEM)
        if key is not None:
            content += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(content)


@dataclass(frozen=True)
class SecureBroker:
    """The broker; the test administers it as super user."""

    broker: KafkaBroker
    authority: Authority
    ports: Mapping[str, int]

    @property
    def log(self) -> str:
        """Kafka's log."""
        return (self.broker.folder / "broker.log").read_text(errors="replace")

    def sasl(self, user: str, password: str, **changes: Any) -> dict[str, Any]:
        """Settings of a user with a password."""
        return {
            "bootstrap_servers": f"{HOST}:{self.ports['SASL_SSL']}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": password,
            "ssl_cafile": self.authority.file,
            **changes,
        }

    def tls(self, certificate: Path | None, **changes: Any) -> dict[str, Any]:
        """Settings of a user with a certificate."""
        return {
            "bootstrap_servers": f"{HOST}:{self.ports['SSL']}",
            "security_protocol": "SSL",
            "ssl_cafile": self.authority.file,
            "ssl_certfile": certificate,
            **changes,
        }

    def add_users(self, passwords: Mapping[str, str]) -> None:
        """Create users with SCRAM-SHA-512 passwords."""
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        admin = self._admin()
        asked = admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(user, how, password.encode())
                for user, password in passwords.items()
            ]
        )
        for done in asked.values():
            done.result(ADMIN_SECONDS)

    def allow(self, principal: str, acls: Iterable[Acl]) -> None:
        """Grant a principal these privileges."""
        admin = self._admin()
        asked = admin.create_acls([_binding(principal, acl) for acl in acls])
        for done in asked.values():
            done.result(ADMIN_SECONDS)

    def topic_rights(self, settings: Settings, topics: Iterable[str]) -> dict[str, set[str]]:
        """What the broker says a user may do, by topic; it lists no topic without a privilege."""
        client = _client(settings)
        asked = client.describe_topics(
            TopicCollection(list(topics)), include_authorized_operations=True
        )
        rights = {}
        for topic, done in asked.items():
            try:
                described = done.result(ADMIN_SECONDS)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    continue
                raise
            rights[topic] = {operation.name for operation in described.authorized_operations}
        return rights

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.broker.bootstrap_servers, "log_level": 0})


def _client(settings: Settings) -> AdminClient:
    """A librdkafka client with the same settings as ours."""
    options = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "ssl.ca.location": str(settings.ssl_cafile),
        "log_level": "0",
    }
    if settings.sasl_mechanism and settings.sasl_username and settings.sasl_password:
        options["sasl.mechanism"] = settings.sasl_mechanism
        options["sasl.username"] = settings.sasl_username
        options["sasl.password"] = settings.sasl_password.get_secret_value()
    if settings.ssl_certfile:
        options["ssl.certificate.location"] = str(settings.ssl_certfile)
        options["ssl.key.location"] = str(settings.ssl_certfile)
    return AdminClient(dict(options))


def _binding(principal: str, acl: Acl) -> AclBinding:
    return AclBinding(
        ResourceType[acl.resource.upper()],
        acl.name,
        ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL,
        principal,
        "*",
        AclOperation[acl.operation.upper()],
        AclPermissionType.ALLOW,
    )


@contextmanager
def secure_broker(folder: Path) -> Iterator[SecureBroker]:
    """Start it: the plain listener is for the super user, all others have to authenticate."""
    authority = Authority(folder, "authority")
    ports = {"SASL_SSL": free_port(), "SSL": free_port()}
    module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(authority.issue("server")),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": module,
    }
    with KafkaBroker(more=MoreListeners(ports, properties)) as broker:
        yield SecureBroker(broker, authority, ports)
