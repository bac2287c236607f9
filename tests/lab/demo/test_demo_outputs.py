"""The demo stops reading only when every layer of every hour has been published."""

from latentwatch.stream.core.outputs import Outputs


def row(layer: str, hour: str, requests: int, revision: int = 1) -> dict[str, object]:
    return {
        "model": "signs",
        "version": "1",
        "layer": layer,
        "hour": hour,
        "requests": requests,
        "revision": revision,
        "flagged": 0,
    }


def test_an_hour_counts_when_all_its_layers_have_come() -> None:
    outputs = Outputs(("deep", "agreement"))
    outputs.take("detection_rates", row("agreement", "10", 640))
    assert outputs.counted == 0
    outputs.take("detection_rates", row("deep", "10", 640))
    assert outputs.counted == 640


def test_an_hour_counts_the_requests_of_its_slowest_layer() -> None:
    outputs = Outputs(("deep", "agreement"))
    for layer in outputs.layers:
        outputs.take("detection_rates", row(layer, "10", 300))
    outputs.take("detection_rates", row("deep", "10", 640, revision=2))
    assert outputs.counted == 300


def test_an_older_revision_does_not_replace_a_newer_one() -> None:
    outputs = Outputs(("deep",))
    outputs.take("detection_rates", row("deep", "10", 640, revision=2))
    outputs.take("detection_rates", row("deep", "10", 300, revision=1))
    assert outputs.counted == 640
