"""The report on a client who copies the model: their queries, read back and evaluated again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from latentwatch.detector import Baseline
from latentwatch.stream.cli.investigate import inspect
from latentwatch.stream.investigate import ClientAlert, InvestigationError, alert_in_file
from latentwatch.stream.investigate.alert import parse
from latentwatch.stream.investigate.client import JudgedClient, judge_client
from latentwatch.stream.investigate.client_drawing import draw_queries
from latentwatch.stream.investigate.client_report import make_client_report
from latentwatch.stream.investigate.lane_rows import RecordedMessages
from latentwatch.stream.investigate.page import write_report
from latentwatch.stream.service.baselines import baseline_url
from tests.stream.investigate.browser import browser
from tests.stream.investigate.conftest import Incident, draw

COPIER = "<script>document.title='owned'</script>"
HONEST = ("alice", "bob", None)
BEGIN, END = 20, 60
"""Messages of the copier: the first five requests of each are theirs."""


@pytest.fixture(scope="module")
def copied(signs_baseline: Baseline, tmp_path_factory: pytest.TempPathFactory) -> Incident:
    """Eighty messages; in the midst of them a client moves one input by small steps."""
    made = Incident(tmp_path_factory.mktemp("copied"))
    rng = np.random.default_rng(4)
    for number in range(80):
        fields = draw(20, 500 + number)
        clients = [HONEST[row % 3] for row in range(20)]
        if BEGIN <= number < END:
            clients[:5] = [COPIER] * 5
        if BEGIN + 5 <= number < END:
            fields["predicted"][:5] = 1
            for layer in fields["activations"].values():
                layer[:5] = 1.0 + 0.05 * rng.standard_normal((5, layer.shape[1]))
                layer[3] = layer[4]  # a retry
        made.send(20, clients=clients, **fields)
    made.record()
    made.judge(signs_baseline)
    signs_baseline.save(baseline_url(made.baselines, "signs", "7"))
    made.inputs.mkdir()
    for number in range(BEGIN, END):
        Image.new("RGB", (24, 24), (30, 60, 200)).save(made.inputs / f"r{number}-2.png")
    return made


@pytest.fixture(scope="module")
def alert(copied: Incident) -> ClientAlert:
    found = alert_in_file(states(copied)[0].id, copied.alerts)
    assert isinstance(found, ClientAlert)
    return found


def states(copied: Incident) -> list[ClientAlert]:
    """The published alerts about the copier, in order."""
    alerts = [parse(line, "alerts") for line in copied.alerts.read_bytes().splitlines()]
    return [alert for alert in alerts if isinstance(alert, ClientAlert)]


@pytest.fixture(scope="module")
def judged(copied: Incident, alert: ClientAlert, signs_baseline: Baseline) -> JudgedClient:
    return judge_client(source(copied), alert, signs_baseline)


def source(copied: Incident) -> RecordedMessages:
    return RecordedMessages(copied.recording, "signs", "7", 2)


def run(copied: Incident, alert: ClientAlert, out: Path, *options: str) -> Result:
    where = ["--recording", copied.recording, "--alerts", str(copied.alerts)]
    where += ["--baselines", copied.baselines, "--out", str(out)]
    return CliRunner().invoke(inspect, [alert.id[:10], *where, *options])


def test_the_queries_are_his_and_give_the_evidence_to_the_last_bit(
    judged: JudgedClient, alert: ClientAlert
) -> None:
    assert set(judged.rows.clients) == {COPIER}
    assert COPIER not in judged.others.clients
    assert judged.difference == 0.0
    assert judged.trace.evidence[-1] == alert.score >= alert.threshold
    assert judged.rows.offsets[-1] == alert.last_offset
    assert judged.rows.requests.event_time_ns[-1] == alert.last_ns


def test_what_counts_begins_where_the_alert_says(judged: JudgedClient, alert: ClientAlert) -> None:
    assert len(judged.judged) == alert.requests
    assert judged.rows.offsets[judged.start] == alert.first_offset
    assert judged.rows.requests.event_time_ns[judged.start] == alert.first_ns
    assert BEGIN <= alert.first_offset <= BEGIN + 5
    nearness = judged.trace.p_values[judged.judged]
    assert np.median(nearness) < 0.1


def test_without_his_earlier_queries_the_report_says_so(
    copied: Incident, signs_baseline: Baseline
) -> None:
    first = states(copied)[0]

    class Later(RecordedMessages):
        def bounds(self) -> tuple[int, int]:
            return first.first_offset, super().bounds()[1]

    late = judge_client(Later(copied.recording, "signs", "7", 2), first, signs_baseline)
    assert 0.0 < late.difference < 0.5
    assert "differs from the alert" in make_client_report(late, origin="here").html


def test_the_command_writes_page_and_pictures(
    copied: Incident, alert: ClientAlert, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    result = run(copied, alert, out, "--inputs", str(copied.inputs))
    assert result.exit_code == 0, result.output
    page = (out / "report.html").read_text()
    assert "&lt;script&gt;document.title" in page
    assert COPIER not in page
    assert "equals the alert" in page
    assert 'alt="Input of request r' in page
    assert page.count("<tr>") > 24
    for name in ("timeline.png", "map.png"):
        with Image.open(out / name) as picture:
            assert picture.size[0] > 800
    again = run(copied, alert, out)
    assert "--force" in str(again.exception)


def test_a_browser_shows_the_page_on_a_phone(judged: JudgedClient, tmp_path: Path) -> None:
    write_report(make_client_report(judged, origin="here"), tmp_path)
    with browser(tmp_path / "report.html") as seen:
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith("data:")] == [seen.page.url]
        assert seen.page.locator("#client").inner_text() == COPIER
        assert seen.page.locator("script").count() == 0
        assert seen.page.locator("h2").all_inner_texts() == [
            "What happened",
            "How the evidence grew",
            "Where the queries lie",
            "Which requests",
            "Which answers the client received",
            "What to do next",
        ]
        widths = "images => images.map(i => i.naturalWidth)"
        assert min(seen.page.locator("img").evaluate_all(widths)) > 800
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 390


def test_validation_rows_take_the_place_of_others_on_the_map(
    judged: JudgedClient, signs_baseline: Baseline
) -> None:
    rows, _ = signs_baseline.rows(**draw(100, 7))
    assert draw_queries(judged, rows, 0) is not None
    assert draw_queries(judged, rows[:10], 0) is None
    lonely = make_client_report(judged, origin="here", baseline_rows=rows[:10])
    assert lonely.map is None
    assert "--baseline-rows" in lonely.html


def test_requests_that_are_not_those_of_the_alert_are_refused(
    copied: Incident, alert: ClientAlert, signs_baseline: Baseline
) -> None:
    for wrong in (
        replace(alert, client="alice"),
        replace(alert, last_offset=BEGIN + 1, first_offset=BEGIN),
        replace(alert, threshold=1e200, score=2e200),
    ):
        with pytest.raises(InvestigationError, match="do not give the evidence"):
            judge_client(source(copied), wrong, signs_baseline)
    with pytest.raises(InvestigationError, match="needs the messages at offsets"):
        judge_client(source(copied), replace(alert, last_offset=10_000), signs_baseline)
