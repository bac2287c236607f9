"""A history with records, and the dashboard's application on top of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from latentwatch.stream.dashboard.app import make_app
from latentwatch.stream.dashboard.components import Components
from latentwatch.stream.dashboard.history import History
from latentwatch.stream.dashboard.options import Options
from latentwatch.stream.dashboard.records import ROLES, parse
from latentwatch.stream.dashboard.store import Place, Store
from latentwatch.stream.settings import Settings
from tests.stream.dashboard.client import Client
from tests.stream.dashboard.material import Record

TOPICS = [getattr(Settings().topics(), role) for role in ROLES]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with Store(file, TOPICS, keep_days=90) as opened:
        yield opened


@pytest.fixture
def history(store: Store) -> History:
    return History(store.path)


@pytest.fixture
def take(store: Store) -> Callable[..., None]:
    """Store records of a topic."""

    def keep(role: str, *records: Record) -> None:
        parsed = [parse(role, record) for record in records]
        place = Place(getattr(Settings().topics(), role), 0)
        store.take([one for one in parsed if one], {place: len(records)})

    return keep


@pytest.fixture
def make_client(store: Store) -> Callable[..., Client]:
    """A client of a dashboard with these options."""

    def make(address: str = "127.0.0.1", host: str = "127.0.0.1:8470", **options: Any) -> Client:
        components = Components.make(Settings(), Options(history=store.path, **options), store)
        return Client(make_app(components), host, address)

    return make
