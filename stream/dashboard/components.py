"""The components of a dashboard, built together and run together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from latentwatch.stream.dashboard.changes import Changes
from latentwatch.stream.dashboard.follow import Follower
from latentwatch.stream.dashboard.history import History
from latentwatch.stream.dashboard.lag import GroupLag
from latentwatch.stream.dashboard.options import Options
from latentwatch.stream.dashboard.store import Store
from latentwatch.stream.dashboard.workers import Workers
from latentwatch.stream.investigate.pictures import InputPictures
from latentwatch.stream.settings import Settings

__all__ = ["Components"]

LAG_SECONDS = 2.0
"""Shortest interval at which the lag is polled, because it queries the whole group."""


@dataclass(frozen=True)
class Components:
    """Everything that the pages query.

    Parameters
    ----------
    settings : Settings
    options : Options
    history : History
    changes : Changes
    follower : Follower
    workers : Workers
    lag : GroupLag
    pictures : InputPictures
    """

    settings: Settings
    options: Options
    history: History
    changes: Changes
    follower: Follower
    workers: Workers
    lag: GroupLag
    pictures: InputPictures

    @classmethod
    def make(cls, settings: Settings, options: Options, store: Store) -> Components:
        """Build the components without starting them."""
        changes = Changes()
        every = options.sample_seconds
        return cls(
            settings,
            options,
            History(options.history),
            changes,
            Follower(settings, store, changes),
            Workers((url.rstrip("/") for url in options.workers), store, changes, every),
            GroupLag(settings, store, changes, max(every, LAG_SECONDS)),
            InputPictures(options.inputs, options.fetch_inputs),
        )

    async def run(self) -> None:
        """Read topics and poll workers until cancelled, or until one of them fails permanently."""
        async with asyncio.TaskGroup() as group:
            for component in (self.follower, self.workers, self.lag):
                group.create_task(component.run())
