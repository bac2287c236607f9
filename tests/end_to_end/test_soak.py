"""The soak in its shortest form: a worker that slept through its session, a broker that died."""

import asyncio
from pathlib import Path

import pytest

from latentwatch.lab.soak.cluster import one_behind_a_gateway
from latentwatch.lab.soak.faults import KillBroker, Pause
from latentwatch.lab.soak.run import run_suite
from latentwatch.lab.soak.synthetic_stream import SyntheticStream, fit_baselines
from latentwatch.lab.soak.world import Frame

pytestmark = [pytest.mark.broker, pytest.mark.slow]

LONGER_THAN_A_SESSION = 12.0


def test_a_worker_that_wakes_up_and_a_broker_that_dies_change_no_number(tmp_path: Path) -> None:
    stream = SyntheticStream()
    outcome = asyncio.run(
        run_suite(
            "short",
            Frame(stream, fit_baselines(stream, tmp_path / "baselines")),
            one_behind_a_gateway(tmp_path),
            [(0.0, Pause(LONGER_THAN_A_SESSION)), (0.0, KillBroker(0.0))],
            tmp_path,
            lambda _: None,
        )
    )
    assert [(c.name, c.differences) for c in outcome.checks if not c.holds] == []
    assert all(episode.recovery_seconds is not None for episode in outcome.episodes)
    assert outcome.ended_by_themselves >= 1
