"""The brokers of a run: one behind a gateway, or a cluster of three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from latentwatch.lab.brokers import KafkaBroker
from latentwatch.lab.brokers.kafka_files import HOST, MoreListeners, free_port, new_cluster_id
from latentwatch.lab.soak.gateway import Gateway

__all__ = ["Brokers", "one_behind_a_gateway", "three_nodes"]


@dataclass(slots=True)
class Brokers:
    """The brokers of a run, and how to reach them.

    Parameters
    ----------
    nodes : list of KafkaBroker
    direct : str
        Bootstrap servers for the harness; they are never cut off.
    workers : str
        Bootstrap servers for the workers.
    gateway : Gateway, optional
        Between the workers and the brokers.
    """

    nodes: list[KafkaBroker]
    direct: str
    workers: str
    gateway: Gateway | None = None
    copies: int = field(default=1)


@asynccontextmanager
async def one_behind_a_gateway(folder: Path) -> AsyncIterator[Brokers]:
    """One node with two listeners; the one for workers is advertised with the gateway's port."""
    plain, behind, gate = _ports(3)
    more = MoreListeners(
        {"GATE": behind},
        {
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "GATE:PLAINTEXT",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{plain},GATE://{HOST}:{gate}",
        },
    )
    node = KafkaBroker(port=plain, data=folder / "kafka", more=more)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(node.start)
        stack.callback(node.stop)
        gateway = await stack.enter_async_context(Gateway(gate, behind))
        yield Brokers([node], f"{HOST}:{plain}", f"{HOST}:{gate}", gateway)


@asynccontextmanager
async def three_nodes(folder: Path) -> AsyncIterator[Brokers]:
    """Three nodes in KRaft mode, each broker and controller; three copies, two of them in sync."""
    ports, controllers = _ports(3), _ports(3)
    cluster = new_cluster_id()
    nodes = [
        KafkaBroker(
            port=ports[index],
            data=folder / f"kafka-{index + 1}",
            more=MoreListeners({}, _node(index, ports, controllers)),
            cluster_id=cluster,
        )
        for index in range(3)
    ]
    servers = ",".join(f"{HOST}:{port}" for port in ports)

    def start() -> None:
        # together: one controller of three has no quorum, and does not answer
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(KafkaBroker.start, nodes))

    async with AsyncExitStack() as stack:
        for node in nodes:
            stack.callback(node.stop)
        await asyncio.to_thread(start)
        yield Brokers(nodes, servers, servers, copies=3)


def _node(index: int, ports: list[int], controllers: list[int]) -> dict[str, str]:
    voters = ",".join(f"{n + 1}@{HOST}:{port}" for n, port in enumerate(controllers))
    own, controller = ports[index], controllers[index]
    return {
        "node.id": str(index + 1),
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://{HOST}:{own},CONTROLLER://{HOST}:{controller}",
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "transaction.state.log.min.isr": "2",
        "min.insync.replicas": "2",
    }


def _ports(count: int) -> list[int]:
    ports: list[int] = []
    while len(ports) < count:
        port = free_port()
        if port not in ports:
            ports.append(port)
    return ports
