"""An incident: traffic of a lane with an attack in it, its alert, and a recording of both."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentwatch.detector import Baseline
from latentwatch.producers.wire import ActivationBatch, Limits, encode
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.processor import Incoming, Processor
from latentwatch.stream.investigate import (
    Judged,
    WindowAlert,
    alert_in_file,
    judge_again,
    rows_around,
)
from latentwatch.stream.investigate.lane_rows import RecordedMessages
from latentwatch.stream.recording import RecordedMessage
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter
from latentwatch.stream.service.baselines import baseline_url
from latentwatch.stream.settings import Settings

HOUR_NS = 3_600 * 10**9
START_NS = 476_256 * HOUR_NS  # 2024-05-01T00:00:00Z
LAYERS = {"early": 4, "deep": 8}
PARTITION = 2
HOSTILE_ID = "<script>document.title='owned'</script>"
POLICY = Policy(average_run_length=100_000, resolve_after_requests=96)


def draw(rows: int, seed: int, attacked: int = 0) -> dict[str, Any]:
    """Two Gaussian classes in two layers; the first `attacked` are off in the deep one."""
    rng = np.random.default_rng([9, seed])
    predicted = rng.integers(0, 2, rows).astype(np.int32)
    activations = {
        name: (rng.standard_normal((rows, width)) + predicted[:, None]).astype(np.float32)
        for name, width in LAYERS.items()
    }
    activations["deep"][:attacked] += 3.0 * rng.standard_normal((attacked, LAYERS["deep"]))
    return {"activations": activations, "predicted": predicted}


@dataclass
class Incident:
    """What was sent, what the worker made of it, and where it is recorded."""

    folder: Path
    messages: list[RecordedMessage] = field(default_factory=list)
    attacked: set[str] = field(default_factory=set)

    @property
    def recording(self) -> str:
        """Where the messages are recorded."""
        return str(self.folder / "recording")

    @property
    def alerts(self) -> Path:
        """The worker's alerts, one event a line."""
        return self.folder / "alerts.jsonl"

    @property
    def baselines(self) -> str:
        """Folder of the baselines."""
        return str(self.folder / "baselines")

    @property
    def inputs(self) -> Path:
        """Folder of the pictures."""
        return self.folder / "inputs"

    def send(self, rows: int, attacked: int = 0, **changes: Any) -> None:
        """Add a message; the first `attacked` of its requests are adversarial."""
        number = len(self.messages)
        ids = [f"r{number}-{row}" for row in range(rows)]
        fields = {
            "model": "signs",
            "version": "7",
            "event_time_ns": START_NS + (number * 100 + np.arange(rows)) * 10**9,
            "request_ids": ids,
            "input_refs": [f"{name}.png" for name in ids],
            "source": "/services/gate",
            "event_id": f"e{number}",
            "time": "2024-05-01T00:00:00Z",
            **draw(rows, number, attacked),
            **changes,
        }
        self.attacked.update(fields["request_ids"][:attacked])
        self.messages.append(RecordedMessage(PARTITION, number, ActivationBatch(**fields)))

    def retry(self, of: int) -> None:
        """Send a message's requests once more, to the bit."""
        batch = self.messages[of].batch
        self.send(
            len(batch),
            activations=batch.activations,
            predicted=batch.predicted,
            request_ids=[f"again-{name}" for name in batch.request_ids],
        )

    def record(self) -> None:
        """Write the messages down."""
        writer = RecordingWriter(RecordingFiles(self.recording), most_bytes=20_000, most_seconds=9)
        for message in self.messages:
            writer.add(message, now=0.0)
        writer.flush_all()

    def judge(self, baseline: Baseline) -> None:
        """Let the worker's own code raise the alerts, and write them down."""
        processor = Processor(
            Settings().topics(),
            lambda model, version: baseline if model == "signs" else None,
            POLICY,
            limits=Limits(),
            newest_ns=lambda: START_NS * 2,
        )
        incoming = [Incoming(p, o, *encode(batch)) for p, o, batch in self.messages]
        alerts = [r for r in processor.take(incoming) if r.topic == "alerts"]
        self.alerts.write_bytes(b"".join((r.value or b"") + b"\n" for r in alerts))


@pytest.fixture(scope="session")
def signs_baseline() -> Baseline:
    """A baseline of signs/7 with windows of up to 128 requests."""
    return Baseline.fit(
        **draw(600, 10**6),
        model="signs",
        version="7",
        longest_window=128,
        random_features=64,
        simulated_requests=40_000,
    )


@pytest.fixture(scope="session")
def incident(signs_baseline: Baseline, tmp_path_factory: pytest.TempPathFactory) -> Incident:
    """Sixty messages, the attack in the midst of them.

    Message sizes are no whole blocks, so that the window begins and ends within messages. Within
    it stand another model's messages, retries, and one that the worker refuses.
    """
    made = Incident(tmp_path_factory.mktemp("incident"))
    for number in range(25):
        made.send(20 + number % 7)
    made.send(21, attacked=12, source="/services/<b>kiosk</b>")
    made.send(9, model="lights", version="1")
    made.send(22, attacked=15, source="/services/<b>kiosk</b>")
    made.retry(of=24)
    wide = {"early": np.zeros((5, 4), np.float32), "deep": np.zeros((5, 3), np.float32)}
    made.send(5, activations=wide, predicted=np.zeros(5, np.int32))
    names = [HOSTILE_ID, *(f"late-{row}" for row in range(22))]
    made.send(23, attacked=18, source="/services/<b>kiosk</b>", request_ids=names)
    for number in range(30):
        made.send(20 + number % 5)
    made.record()
    made.judge(signs_baseline)
    signs_baseline.save(baseline_url(made.baselines, "signs", "7"))
    made.inputs.mkdir()
    for name in sorted(made.attacked - {HOSTILE_ID}):
        Image.new("RGB", (24, 24), (200, 30, 60)).save(made.inputs / f"{name}.png")
    return made


@pytest.fixture(scope="session")
def alert(incident: Incident) -> WindowAlert:
    """The alert of the attack."""
    return alert_in_file("", incident.alerts)


@pytest.fixture(scope="session")
def judge(incident: Incident, signs_baseline: Baseline) -> Callable[[WindowAlert], Judged]:
    """Judges an alert's window again, from the recording."""

    def again(alert: WindowAlert) -> Judged:
        source = RecordedMessages(incident.recording, alert.model, alert.version, alert.partition)
        return judge_again(rows_around(source, alert, signs_baseline), alert, signs_baseline)

    return again


@pytest.fixture(scope="session")
def judged(alert: WindowAlert, judge: Callable[[WindowAlert], Judged]) -> Judged:
    """The incident, judged again."""
    return judge(alert)
