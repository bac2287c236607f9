"""What the JSON API returns from a history, and what it must never do."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from latentwatch.stream.core.events import AlertEvent
from latentwatch.stream.dashboard.api import alert_commands
from latentwatch.stream.dashboard.app import make_app
from latentwatch.stream.dashboard.components import Components
from latentwatch.stream.dashboard.options import Options
from latentwatch.stream.dashboard.records import parse
from latentwatch.stream.dashboard.store import Sample, Store
from latentwatch.stream.settings import Settings
from tests.stream.dashboard.client import Client
from tests.stream.dashboard.material import NAME, PNG, alert, extraction, flagged, letter, rate

Make = Callable[..., Client]
Take = Callable[..., None]

NASTY = "x'; rm -rf $(pwd) <img src=x onerror=alert(1)>"


@pytest.fixture
def filled(take: Take, store: Store) -> None:
    take("alerts", alert("a" * 32), alert("b" * 32, 9, "resolved", fired_at="2026-01-05T11:00:00Z"))
    take("detection_rates", rate(9), rate(10), rate(10, "early"), rate(8, model="other"))
    take("flagged_requests", flagged(1), flagged(0), flagged(2, hour="2026-01-05T09:00:00Z"))
    take("dead_letter", letter(1), letter(2))
    store.take_samples([Sample(1.0, "signs", "1", 0, "deep", 1.5, 800.0, 3.0, None)])
    store.take_lag(2.0, 17)


@pytest.fixture
def client(filled: None, make_client: Make) -> Client:
    return make_client()


def test_models_come_with_their_latest_hour_and_open_alerts(client: Client) -> None:
    first, second = client.get("/api/models").json()
    assert (first["model"], first["firing"], first["alerts"]) == ("other", 0, 0)
    assert (second["model"], second["firing"], second["alerts"]) == ("signs", 1, 2)
    assert second["newest_hour"]["hour"] == "2026-01-05T10:00:00Z"


def test_a_model_with_only_an_alert_is_listed(take: Take, make_client: Make) -> None:
    take("alerts", alert())
    (only,) = make_client().get("/api/models").json()
    assert (only["model"], only["newest_hour"]) == ("signs", None)


def test_hours_samples_and_flagged_requests_belong_to_the_model(client: Client) -> None:
    hours = client.get("/api/hours", params=NAME).json()
    assert [(row["hour"][11:13], row["layer"]) for row in hours] == [
        ("09", "deep"), ("10", "deep"), ("10", "early"),
    ]  # fmt: skip
    assert client.get("/api/samples", params=NAME).json()["layers"]["deep"][0]["E"] == 800.0
    found = client.get("/api/flagged", params={**NAME, "hour": "2026-01-05T10:00:00Z"}).json()
    assert [one["request"]["request_id"] for one in found] == ["request-0", "request-1"]


def test_alerts_are_filtered_by_state_and_paged(client: Client) -> None:
    def ids(**parameters: str) -> list[str]:
        return [found["id"][0] for found in client.get("/api/alerts", params=parameters).json()]

    assert ids() == ["b", "a"]
    assert not any("fired_at_offset" in found for found in client.get("/api/alerts").json())
    assert ids(status="firing") == ["a"]
    assert ids(before="2026-01-05T11:00:00Z") == ["a"]
    assert ids(model="other") == []
    assert client.get("/api/alerts", params={"status": "odd"}).status_code == 422


def test_an_alert_is_found_by_a_prefix_of_its_id(client: Client) -> None:
    found = client.get("/api/alerts/aaaaaaaa").json()
    assert found["alert"]["id"] == "a" * 32
    assert found["commands"]["inspect"].startswith("latentwatch inspect aaaaaaaaaaaa --out ")
    assert found["pictures"] is False
    assert "fired_at_offset" not in found["alert"]
    assert client.get("/api/alerts/cccc").status_code == 404
    assert client.get("/api/alerts/%25%25%25%25").status_code == 404


def test_an_alert_about_a_client_has_none_of_the_fields_of_a_window(
    take: Take, make_client: Make
) -> None:
    take("alerts", extraction(client=NASTY))
    client = make_client()
    found = client.get("/api/alerts/eeee").json()
    assert found["alert"]["client"] == NASTY
    assert (found["alert"]["p_value"], found["alert"]["layers"]) == (None, {})
    assert found["steps"][0]["contamination"] is None
    # the name that a client chose is not part of any command
    assert set(found["commands"]) == {"inspect", "replay_offline", "replay"}
    assert not any("onerror" in command for command in found["commands"].values())
    assert client.get("/api/alerts/eeee/pictures/0").status_code == 204
    assert client.get("/api/models").json()[0]["firing"] == 1


def test_commands_quote_names_chosen_by_producers() -> None:
    parsed = parse("alerts", alert(model=NASTY))
    assert parsed is not None
    assert isinstance(parsed.content, AlertEvent)
    commands = alert_commands(parsed.content, "s3://bucket/my recording")
    words = shlex.split(commands["replay_offline"])
    assert words[:3] == ["latentwatch", "replay", "s3://bucket/my recording"]
    assert words[words.index("--model") + 1] == NASTY
    assert words[words.index("--since") + 1] == "2026-01-05T10"
    assert words[words.index("--until") + 1] == "2026-01-05T11"


def test_pictures_come_only_from_the_folder_and_are_addressed_by_request(
    filled: None, make_client: Make, take: Take, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "0.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    take("flagged_requests", flagged(7, input_ref="../secret.png"))
    client = make_client(inputs=inputs)
    shown = client.get("/api/alerts/aaaa/pictures/0")
    assert (shown.content, shown.headers["content-type"]) == (PNG, "image/png")
    assert client.get("/api/alerts/aaaa/pictures/1").status_code == 204
    assert client.get("/api/alerts/aaaa/pictures/9").status_code == 204
    assert client.get("/api/alerts/cccc/pictures/0").status_code == 404
    numbers = {
        one["request"]["request_id"]: one["number"]
        for one in client.get("/api/flagged", params=NAME).json()
    }
    codes = {
        name: client.get(f"/api/flagged/{number}/picture").status_code
        for name, number in numbers.items()
    }
    assert codes == {"request-0": 200, "request-1": 204, "request-2": 204, "request-7": 204}
    assert make_client().get("/api/alerts/aaaa/pictures/0").status_code == 204


def test_dead_letters_come_with_counts_and_examples(client: Client) -> None:
    found = client.get("/api/dead-letters").json()
    assert [(row["reason"], row["count"]) for row in found["counts"]] == [("bad-length", 2)]
    assert found["examples"][0]["place"] == "activations/0/2"


def test_workers_and_status_show_what_is_still_unknown(client: Client) -> None:
    workers = client.get("/api/workers").json()
    assert (workers["workers"], workers["lag"], workers["group"]) == ([], None, "latentwatch")
    status = client.get("/api/status").json()
    assert (status["ready"], status["reason"]) == (False, "connecting")
    assert status["topics"]["alerts"] == "alerts"


def test_events_are_served_as_a_stream_that_ends_with_the_dashboard(store: Store) -> None:
    components = Components.make(Settings(), Options(history=store.path), store)
    components.changes.close()
    events = Client(make_app(components), "127.0.0.1", "127.0.0.1").get("/api/events")
    assert (events.status_code, events.text) == (200, "retry: 2000\n\n")
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.headers["x-accel-buffering"] == "no"


def test_every_path_is_described(client: Client) -> None:
    described = client.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/models", "/api/hours", "/api/samples", "/api/flagged",
        "/api/flagged/{number}/picture", "/api/alerts", "/api/alerts/{alert_id}",
        "/api/alerts/{alert_id}/pictures/{place}", "/api/dead-letters", "/api/workers",
        "/api/status", "/api/events",
    }  # fmt: skip
    undescribed = [
        path for path, item in described["paths"].items() if not item["get"].get("description")
    ]
    assert undescribed == []
    assert "swagger" not in client.get("/docs").text


def test_metric_series_do_not_depend_on_the_content_of_the_topics(client: Client) -> None:
    families = text_string_to_metric_families(client.get("/metrics").text)
    labels = {str(sample.labels) for family in families for sample in family.samples}
    assert not any("signs" in text for text in labels)
    assert sum("topic" in text for text in labels) == 4


def test_the_page_loads_nothing_from_other_servers() -> None:
    static = Path(__file__).parents[3] / "stream" / "dashboard" / "static"
    for path in [*static.glob("*.html"), *static.glob("*.css"), *static.glob("*.js")]:
        text = path.read_text()
        assert "https://" not in text, path
        assert "innerHTML" not in text, path
        assert "style=" not in text, path
    assert "MIT" in (static / "vendor" / "uplot" / "LICENSE").read_text()
