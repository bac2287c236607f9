"""The dashboard in a real browser, from an attack's first message to the past after a restart."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from PIL import Image

from tests.end_to_end.dashboard import (
    CHROMIUM,
    Browser,
    Dashboard,
    Look,
    open_browser,
    running_dashboard,
)
from tests.end_to_end.test_metrics import free_port
from tests.stream.dashboard.material import alert

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(CHROMIUM is None, reason="install the system's package chromium"),
]

NASTY = "<img src=x onerror=alert(1)>"
PATIENCE_MS = 60_000


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Call in another thread: in this one playwright has an event loop that runs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *arguments).result()


@dataclass
class Watched:
    """An attack that a page saw live."""

    browser: Browser
    look: Look
    dashboard: Dashboard
    service: Any
    folder: Path
    alert_id: str

    def read(self, path: str) -> Any:
        """What the API says."""
        with urllib.request.urlopen(f"{self.dashboard.url}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def windows(self) -> int:
        """Windows of signs/1 that the dashboard saw."""
        layers = self.read("api/samples?model=signs&version=1")["layers"]
        return len(layers.get("", []))


@pytest.fixture(scope="module")
def watched(
    kafka_bootstrap: str,
    make_service: Any,
    recording: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    """A page that was open before the first request came, and was never loaded again."""
    folder, port = tmp_path_factory.mktemp("dashboard"), free_port()
    Image.new("RGB", (8, 8), "red").save(folder / "0.png")
    options = (
        *(f"--inputs={folder}", f"--worker=http://127.0.0.1:{port}", "--worker=http://127.0.0.1:9"),
        "--sample-seconds=0.3",
    )
    with (
        make_service(kafka_bootstrap, f"dashboard{port}.", metrics_port=port) as service,
        running_dashboard(service.settings, folder, *options) as dashboard,
        open_browser() as browser,
    ):
        look = browser.look(dashboard.url)
        service.start_worker()
        found = Watched(browser, look, dashboard, service, folder, "")
        signs = [m for m in recording.messages if m.partition == 0]
        apart(service.send, [message for message, _ in recording.refused[:3]])
        for begin in (0, 16, 32):
            # an hour at a time: each is seen as a window of its own
            seen = found.windows()
            apart(service.send, signs[begin : begin + 16])
            service.wait_until("a new window is seen", lambda seen=seen: found.windows() > seen)
        newest = look.page.locator("tr", has_text="signs/1").locator("td.time")
        newest.filter(has_text="1 May 02:00").wait_for(timeout=PATIENCE_MS)
        found.alert_id = found.read("api/alerts?model=signs")[-1]["id"]
        yield found


def go(watched: Watched, place: str) -> Any:
    """Follow a link that somebody was sent."""
    watched.look.page.goto(f"{watched.dashboard.url}{place}")
    watched.look.page.wait_for_load_state()
    return watched.look.page


def fits(page: Any) -> bool:
    """Whether the page is no wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_the_attacked_hour_is_seen_by_a_page_that_was_open(watched: Watched) -> None:
    page = watched.look.page
    page.get_by_role("link", name="signs/1").first.click()
    chart = page.get_by_role("img", name=re.compile("Requests and detection rate of 3 hours"))
    chart.locator("canvas").wait_for(timeout=PATIENCE_MS)
    page.get_by_text("The same as a table").first.click()
    hours = page.get_by_role("region", name="Hours, the newest first").locator("tbody tr")
    rows = {cells[0]: cells for cells in (row.split("\t") for row in hours.all_inner_texts())}
    assert rows["1 May 00:00"][1:4] == ["768", "0", "0.0%"]
    assert float(rows["1 May 01:00"][3].rstrip("%")) > 5.0
    told = apart(watched.service.read).rates["signs", "deep", "2024-05-01T01:00:00Z"]
    assert rows["1 May 01:00"][2] == str(told["flagged"])
    assert page.get_by_role("img", name=re.compile("^Score, by window: .*threshold")).count() == 1


def test_one_alert_is_looked_into_by_keyboard_alone(watched: Watched) -> None:
    page = go(watched, "#/alerts")
    link = page.locator(f"#alert-{watched.alert_id}")
    link.wait_for()
    for _ in range(40):
        if page.evaluate("document.activeElement.id") == f"alert-{watched.alert_id}":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Most suspicious requests").wait_for()
    assert page.url.endswith(f"#/alert/{watched.alert_id}")
    alert = watched.read(f"api/alerts/{watched.alert_id}")
    text = page.locator("main").inner_text()
    for said in (
        *(suspect["request_id"] for suspect in alert["alert"]["most_suspicious"]),
        *alert["alert"]["layers"], alert["alert"]["baseline_sha256"], "AML.T0043",
        f"latentwatch inspect {watched.alert_id[:12]} --out", "latentwatch replay",
        "--since 2024-05-01T01",
    ):  # fmt: skip
        assert said in text
    assert alert["alert"]["most_suspicious"][0]["request_id"].startswith("signs-1-")


def test_workers_are_shown_with_their_health(watched: Watched) -> None:
    page = go(watched, "#/workers")
    page.locator("tr", has_text="watching 3 partitions").locator("text=ready").wait_for()
    page.locator("tr", has_text="http://127.0.0.1:9").locator("text=away").wait_for()
    page.get_by_text("1 of 2").wait_for()


def test_dead_letters_are_counted_with_examples(watched: Watched) -> None:
    page = go(watched, "#/letters")
    page.get_by_role("region", name="The newest dead letters").wait_for(timeout=PATIENCE_MS)
    counts = page.get_by_role("region", name="Dead letters by reason").inner_text()
    assert "not-cloudevent" in counts
    page.locator("tr", has=page.locator("pre", has_text="garbage")).locator("summary").click()
    page.locator("pre", has_text="garbage").wait_for()


def publish(watched: Watched, *records: Any) -> None:
    async def produce() -> None:
        options = watched.service.settings.kafka_options()
        async with AIOKafkaProducer(**options) as producer:
            for record in records:
                await producer.send_and_wait(watched.service.topics.alerts, record.value, b"x")

    asyncio.run(produce())


def test_names_of_strangers_stay_text_and_pictures_are_shown(watched: Watched) -> None:
    page = go(watched, "#/alerts")
    page.locator("[id^=alert-]").first.wait_for()
    nasty = alert("e" * 32, model=NASTY, pattern="drift")
    apart(publish, watched, alert("f" * 32, window=None), nasty)
    page.get_by_text(f"{NASTY}/1", exact=True).first.wait_for(timeout=PATIENCE_MS)
    page.locator(f"#alert-{'e' * 32}").click()
    picture = page.locator(".suspects img").first
    picture.wait_for()
    assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 8
    assert page.get_by_text("no input reference").count() == 1
    assert page.locator("img[src=x]").count() == 0


PLACES = ["#/", "#/model/signs/1", "#/alerts", "#/workers", "#/letters", "#/alert/{alert}"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_in_both_themes(watched: Watched, scheme: str) -> None:
    look = watched.browser.look(watched.dashboard.url, width=390, height=844, scheme=scheme)
    for place in PLACES:
        address = f"{watched.dashboard.url}{place.format(alert=watched.alert_id)}"
        look.page.goto(address)
        look.page.locator("main :is(table, dl.figures)").first.wait_for()
        assert fits(look.page), place
    background = look.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 384) == (scheme == "light")
    assert (look.complaints, look.elsewhere) == ([], [])
    look.page.close()


def test_the_browser_has_nothing_to_complain_of(watched: Watched) -> None:
    assert watched.look.complaints == []
    assert watched.look.elsewhere == []


def test_a_restart_without_kafka_shows_the_past_and_says_so(watched: Watched) -> None:
    before = watched.read("api/hours?model=signs&version=1")
    watched.look.page.close()
    watched.dashboard.stop()
    away = watched.service.settings.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})
    with running_dashboard(away, watched.folder) as again:
        look = watched.browser.look(f"{again.url}#/alert/{watched.alert_id[:8]}")
        look.page.get_by_role("heading", name="How it went").wait_for()
        look.page.locator("#banner", has_text="does not answer").wait_for(timeout=PATIENCE_MS)
        with urllib.request.urlopen(f"{again.url}api/hours?model=signs&version=1") as answer:
            assert json.loads(answer.read()) == before
        again.stop()
