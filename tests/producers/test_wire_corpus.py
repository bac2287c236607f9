"""Inputs that fuzzing found to matter are run every time; so is the fuzzer itself, briefly."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from latentwatch.producers.wire import Reason
from tests.fuzz.invariants import judge
from tests.fuzz.messages import from_bytes, to_bytes
from tests.fuzz.mutator import mutate

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
INPUTS = sorted(path for path in CORPUS.iterdir() if path.is_file())


@pytest.fixture(scope="module")
def outcomes() -> Counter[str]:
    """The outcome of each input; an escape fails here."""
    return Counter(judge(from_bytes(path.read_bytes())) for path in INPUTS)


def test_no_input_of_the_corpus_escapes(outcomes: Counter[str]) -> None:
    assert outcomes.total() == len(INPUTS)
    assert outcomes["taken"] >= 5
    assert outcomes["end"] >= 1


def test_the_corpus_reaches_every_reason_of_the_decoder(outcomes: Counter[str]) -> None:
    assert set(Reason) <= set(outcomes)


def test_the_corpus_stays_small() -> None:
    assert len(INPUTS) < 120
    assert sum(path.stat().st_size for path in INPUTS) < 200_000


def test_messages_come_back_from_their_bytes() -> None:
    for path in INPUTS:
        message = from_bytes(path.read_bytes())
        data = to_bytes(message.key, list(message.headers), message.value)
        assert from_bytes(data) == message
    assert from_bytes(b"") == (0, 0, None, None, [])
    assert from_bytes(b"\x01").key is None


def test_mutations_follow_from_their_seed_and_escape_nothing() -> None:
    found: Counter[str] = Counter()
    for seed in range(600):
        data = INPUTS[seed % len(INPUTS)].read_bytes()
        first, again = (mutate(data, 1 << 16, seed, bytes.swapcase) for _ in range(2))
        assert first == again
        found[judge(from_bytes(first))] += 1
    # most get past the first checks, or the fuzzer would stay there
    assert len(found) >= 12
    assert found["taken"] >= 20


@pytest.mark.slow
def test_the_fuzzer_runs_over_the_corpus(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="make fuzz needs atheris, which has no wheel here")
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.fuzz.fuzz_decode", str(tmp_path), str(CORPUS),
            "-runs=300", "-seed=1", f"-artifact_prefix={tmp_path}/",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 300 runs" in done.stderr or "DONE" in done.stderr
