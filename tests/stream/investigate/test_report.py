"""The report of an alert, as the command writes it and a browser shows it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from latentwatch.detector import Baseline
from latentwatch.stream.cli.investigate import inspect
from latentwatch.stream.investigate import Judged, WindowAlert
from latentwatch.stream.investigate.drawing import draw_map
from latentwatch.stream.investigate.report import make_report
from latentwatch.stream.investigate.suspicion import weigh
from latentwatch.stream.service.baselines import baseline_url
from tests.stream.investigate.browser import Seen, browser
from tests.stream.investigate.conftest import HOSTILE_ID, Incident, draw


def run(incident: Incident, out: Path, *options: str, baselines: str | None = None) -> Result:
    where = {
        "--recording": incident.recording,
        "--alerts": incident.alerts,
        "--baselines": baselines or incident.baselines,
        "--out": out,
    }
    given = [str(part) for pair in where.items() for part in pair]
    return CliRunner().invoke(inspect, [*options, *given])


@pytest.fixture(scope="module")
def report(
    incident: Incident, alert: WindowAlert, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of the report that the command wrote."""
    out = tmp_path_factory.mktemp("out") / "report"
    result = run(incident, out, alert.id[:10], "--inputs", str(incident.inputs))
    assert result.exit_code == 0, result.output
    assert result.output == f"wrote {out / 'report.html'}\n"
    return out


@pytest.fixture(scope="module")
def seen(report: Path) -> Iterator[Seen]:
    """The report, open in a browser, on a phone's screen."""
    with browser(report / "report.html") as found:
        yield found


def test_the_page_needs_no_network_and_gives_no_cause_for_complaint(
    seen: Seen, report: Path
) -> None:
    fetched = [url for url in seen.requests if not url.startswith("data:")]
    assert fetched == [(report / "report.html").as_uri()]
    assert seen.complaints == []


def test_every_picture_is_drawn_and_described(seen: Seen) -> None:
    pictures = seen.page.locator("img").evaluate_all(
        "images => images.map(i => [i.naturalWidth, i.alt])"
    )
    assert len(pictures) == 2 + 12
    assert all(width > 0 and alt for width, alt in pictures)


def test_headings_lead_through_the_page(seen: Seen) -> None:
    assert seen.page.locator("h1").all_inner_texts() == ["Alert on signs/7, partition 2"]
    assert seen.page.locator("h2").all_inner_texts() == [
        "What happened",
        "When the statistics moved",
        "Where the requests lie",
        "Which requests",
        "Who sent them",
        "What to do next",
    ]


def test_tables_have_headers_and_the_most_suspicious_request_on_top(
    seen: Seen, judged: Judged
) -> None:
    table = seen.page.get_by_role("region", name="The most suspicious requests")
    assert table.locator("tbody tr").count() == 24
    assert "predicted class" in table.locator("thead").inner_text()
    first = weigh(judged).requests[0]
    row = table.locator("tbody tr").first.inner_text()
    assert first.request_id in row
    assert f"{first.share:.1%}" in row
    assert seen.page.locator("th:not([scope])").count() == 0


def test_the_page_says_that_the_statistics_are_the_alerts(seen: Seen) -> None:
    proof = seen.page.locator("#proof").inner_text()
    assert "equal the alert's to the last bit" in proof
    assert "exactly the 128 requests" in proof


def test_hostile_texts_are_shown_and_not_run(seen: Seen) -> None:
    assert seen.page.title().startswith("Alert ")
    assert seen.page.locator("script").count() == 0
    assert seen.page.get_by_text(HOSTILE_ID, exact=True).count() == 1
    assert seen.page.locator("b").count() == 0
    assert seen.page.get_by_text("/services/<b>kiosk</b>", exact=True).count() > 0


def test_the_page_fits_a_phone_and_follows_dark_mode(seen: Seen) -> None:
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
    colour = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == "rgb(20, 24, 31)"


def test_tables_can_be_scrolled_with_the_keyboard(seen: Seen) -> None:
    seen.page.keyboard.press("Tab")
    focused = seen.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "Statistics by view"


def test_pictures_are_next_to_the_page(report: Path) -> None:
    assert sorted(path.name for path in report.iterdir()) == [
        "map.png",
        "report.html",
        "timeline.png",
    ]
    assert (report / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_is_replaced_only_with_force(
    incident: Incident, alert: WindowAlert, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("mine")
    result = run(incident, tmp_path, alert.id)
    assert result.exit_code == 1
    assert "report.html already: choose another folder, or use --force" in str(result.exception)
    assert (tmp_path / "report.html").read_text() == "mine"


def test_another_baseline_than_the_alerts_is_refused(
    incident: Incident, alert: WindowAlert, tmp_path: Path
) -> None:
    out, folder = tmp_path / "out", str(tmp_path / "baselines")
    result = run(incident, out, alert.id, baselines=folder)
    assert "there is no baseline" in result.output
    other = Baseline.fit(
        **draw(300, 77), model="signs", version="7", longest_window=64, simulated_requests=10_000
    )
    other.save(baseline_url(folder, "signs", "7"))
    result = run(incident, out, alert.id, baselines=folder)
    assert f"is baseline {other.sha256[:12]}, but the alert was raised with" in result.output
    assert not out.exists()


def test_without_earlier_requests_the_map_is_left_out_and_said_so(judged: Judged) -> None:
    alone = replace(
        judged,
        rows=judged.rows.take(slice(judged.start, None)),
        features=judged.features.take(slice(judged.start, None)),
        decisions=judged.decisions[judged.start // 32 :],
        start=0,
    )
    report = make_report(alone, origin="a test")
    assert report.map is None
    assert "No map: there are too few requests" in report.html


def test_rows_of_the_baseline_can_stand_on_the_map(
    judged: Judged, signs_baseline: Baseline
) -> None:
    given = draw(100, 5)
    rows, _ = signs_baseline.rows(given["activations"], np.zeros(100, dtype=np.int64))
    suspicion = weigh(judged)
    with_rows = draw_map(judged, suspicion, rows, seed=0)
    assert with_rows is not None
    assert with_rows != draw_map(judged, suspicion, None, seed=0)
