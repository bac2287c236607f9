"""Checks the connection to the broker, and explains why the broker refuses it.

aiokafka only reports that it could not connect. So every command checks its connection once before
it starts, and exits if the error is one that no retry can cure. A broker that cannot be reached is
not such an error: it may come up later.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest

from latentwatch.stream.core.errors import BrokerError
from latentwatch.stream.kafka.acls import Role, acls_of
from latentwatch.stream.settings import Settings

__all__ = ["check_connection", "refusal"]

PATIENCE_MS = 5_000
CLOSING_SECONDS = 0.05

CLIENT_CERTIFICATE = (
    "BAD_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "UNSUPPORTED_CERTIFICATE",
    "UNKNOWN_CA",
    "ACCESS_DENIED",
)
"""How a server rejects a client's certificate: OpenSSL's reason contains one of these."""


def check_connection(settings: Settings, role: Role | None = None) -> None:
    """Connect to the broker, for a few seconds at most, and fail if it refuses.

    Parameters
    ----------
    settings
        How to reach the broker.
    role
        Role whose permissions are checked; none by default.

    Raises
    ------
    BrokerError
        A password, a certificate, an authority or the protocol is wrong, or the role has no
        permission at all on a topic or group that it needs. The message names the setting to
        correct. A broker that cannot be reached raises nothing: it may come up later.
    SettingsError
        The TLS files cannot be used.
    """
    reason = asyncio.run(refusal(settings, role))
    if reason is not None:
        raise BrokerError(f"the broker at {settings.bootstrap_servers} refuses: {reason}")


async def refusal(settings: Settings, role: Role | None = None) -> str | None:
    """Return why the first server that can be reached refuses us; None if it does not."""
    options = settings.kafka_options()
    for server in options.pop("bootstrap_servers").split(","):
        host, _, port = server.rpartition(":")
        try:
            connection = await create_conn(
                host.strip("[]"), int(port), request_timeout_ms=PATIENCE_MS, **options
            )
        except (KafkaError, OSError, TimeoutError) as error:
            # the rest of the connection closes a moment later, and needs the event loop for that
            await asyncio.sleep(CLOSING_SECONDS)
            reason = _in_words(error, settings)
            if reason is not None:
                return reason
            continue
        try:
            return await _lacking(connection, settings, role)
        finally:
            await connection.close()
    return None


async def _lacking(connection: Any, settings: Settings, role: Role | None) -> str | None:
    """The topics and groups that a role needs and has no permission for, in words."""
    if role is None or settings.security_protocol == "PLAINTEXT":
        # a client without a name has no permissions of its own, and a mock cluster would create
        # the topics that we ask about
        return None
    acls = acls_of(role, settings)
    names = sorted({acl.name for acl in acls if acl.resource == "Topic"})
    metadata = await connection.send(MetadataRequest(names, allow_auto_topic_creation=False))
    lacking = sorted(
        f"topic {name}"
        for code, name, *_ in metadata.topics
        if code == TopicAuthorizationFailedError.errno
    )
    for group in (acl.name for acl in acls if acl.resource == "Group"):
        found = await connection.send(FindCoordinatorRequest(group, 0))
        if found.error_code == GroupAuthorizationFailedError.errno:
            lacking.append(f"group {group}")
    if not lacking:
        return None
    who = settings.sasl_username or settings.ssl_certfile or "a client without a name"
    return (
        f"{who} has no permission on {', '.join(lacking)}. Ask an administrator of the broker to "
        f"run the commands that `latentwatch acls {role}` prints"
    )


def _in_words(error: BaseException, settings: Settings) -> str | None:
    for cause in _causes(error):
        if isinstance(cause, SaslAuthenticationFailed):
            return (
                f"user {settings.sasl_username!r} or the password is wrong. Check sasl_username, "
                f"sasl_password and sasl_mechanism ({settings.sasl_mechanism}), and that the "
                "broker has credentials for this user and mechanism"
            )
        if isinstance(cause, UnsupportedSaslMechanismError | IllegalSaslStateError):
            return (
                f"it does not offer sasl_mechanism {settings.sasl_mechanism} with "
                f"{settings.security_protocol} on this port. Ask an administrator for the "
                "mechanism and the port of the listener"
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause)
        if isinstance(cause, ssl.SSLError) and any(
            name in (cause.reason or "") for name in CLIENT_CERTIFICATE
        ):
            return _own_certificate(settings)
        if _is_of_another_protocol(cause, settings):
            return (
                f"it does not speak {settings.security_protocol} on this port. Check "
                "security_protocol and the port in bootstrap_servers"
            )
    return None


def _is_of_another_protocol(error: BaseException, settings: Settings) -> bool:
    if isinstance(error, asyncio.IncompleteReadError):
        # the beginning of a TLS alert; a broker that shuts down closes without one
        return bool(error.partial)
    broken = isinstance(error, ssl.SSLError | ConnectionResetError)
    return broken and settings.security_protocol.endswith("SSL")


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message.rstrip(".")
    return (
        f"its certificate cannot be trusted ({reason}). Set ssl_cafile to the authority that "
        "issued it, use the host name of the certificate in bootstrap_servers, or have the "
        "certificate renewed if it has expired"
    )


def _own_certificate(settings: Settings) -> str:
    if settings.ssl_certfile is None:
        return (
            "it requires a client certificate. Set ssl_certfile and ssl_keyfile, or use the port "
            "for SASL_SSL if you have a password"
        )
    return (
        f"it does not accept the certificate {settings.ssl_certfile}. Check that it has not "
        "expired (openssl x509 -enddate -noout -in FILE), and that it was issued by an authority "
        "that the broker trusts"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
