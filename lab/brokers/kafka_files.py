"""The configuration of the child Kafka: a single node in KRaft mode on the loopback interface."""

import socket
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

__all__ = [
    "HOST",
    "MoreListeners",
    "free_port",
    "is_free",
    "new_cluster_id",
    "write_configuration",
]

HOST = "127.0.0.1"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{more}
advertised.listeners=PLAINTEXT://{host}:{port}{more}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}

auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
# The default of 128 MiB would be a quarter of the heap.
log.cleaner.dedupe.buffer.size=16777216

# One node: internal topics have one copy.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# Consumer groups start at once, and may ask for short sessions.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000

# A killed node may register again when its previous session is over: after 9 s by default.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000

num.network.threads=2
num.io.threads=4
"""

_LOG4J = """\
<Configuration status="ERROR">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="%d %p %c{{1}} %m%n"/>
      <SizeBasedTriggeringPolicy size="10MB"/>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="file"/></Root></Loggers>
</Configuration>
"""


@dataclass(frozen=True, slots=True)
class MoreListeners:
    """Listeners in addition to the plain one, and the properties that they need.

    Parameters
    ----------
    ports
        Port by security protocol: ``SSL``, ``SASL_SSL``.
    properties
        Properties of Kafka, by name; they override the defaults here.
    """

    ports: Mapping[str, int] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


def write_configuration(
    folder: Path, log: Path, port: int, more: MoreListeners | None = None
) -> tuple[Path, Path]:
    """Write the files that Kafka reads at its start.

    Parameters
    ----------
    folder
        Folder for the files; the data go to ``logs`` in it.
    log
        File for Kafka's own log.
    port
        Port for clients; the controller's is a free one.
    more
        Additional listeners.

    Returns
    -------
    tuple of Path
        Kafka's properties and log4j's configuration.
    """
    properties, log4j = folder / "server.properties", folder / "log4j2.xml"
    controller_port = free_port(other_than=port)
    more = more or MoreListeners()
    text = _PROPERTIES.format(
        host=HOST,
        port=port,
        controller_port=controller_port,
        logs=folder / "logs",
        more="".join(f",{name}://{HOST}:{number}" for name, number in more.ports.items()),
    )
    lines = [f"{name}={value}\n" for name, value in more.properties.items()]
    properties.write_text("".join([text, *lines]))
    log4j.write_text(_LOG4J.format(log=log))
    return properties, log4j


def new_cluster_id() -> str:
    """Return an identifier in the form that Kafka expects: 16 random bytes in base 64."""
    first, *rest = uuid4().bytes
    # without its top bit the first character is a letter; one in 64 would be a hyphen, which the
    # storage tool takes for an option
    return urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


def free_port(other_than: int | None = None) -> int:
    """Return a port of the loopback interface that is not in use at the moment."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port != other_than:
            return port


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port of the loopback interface."""
    with socket.socket() as probe:
        # As Kafka does: closing connections of its predecessor do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
