"""The artefact: a file that loads exactly as it was saved, or not at all."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import orjson
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from latentwatch.detector import ArtefactError, Baseline, Monitor

FORMAT = "latentwatch-baseline/5"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, baseline: Baseline) -> Path:
    """The artefact of three layers."""
    path = tmp_path_factory.mktemp("artefact") / "baseline.safetensors"
    baseline.save(str(path))
    return path


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, deep_traffic: Any) -> bytes:
    """The smallest artefact, so that many of its bytes can be tried."""
    path = tmp_path_factory.mktemp("small") / "baseline.safetensors"
    deep_traffic.fit(200, 0, longest_window=32, random_features=16).save(str(path))
    return path.read_bytes()


def test_a_loaded_baseline_decides_bit_for_bit_like_the_saved_one(
    baseline: Baseline, path: Path, traffic: Any
) -> None:
    loaded = Baseline.load(str(path))
    rows = traffic.attacked(300, np.random.default_rng(0))

    def states(judge: Baseline) -> tuple[Any, ...]:
        monitor = Monitor(judge, average_run_length=10_000)
        decisions = monitor.update(*rows)
        return monitor.state_bytes(), monitor.threshold, [(d.views, d.p_value) for d in decisions]

    assert states(loaded) == states(baseline)
    assert (loaded.score(*rows) == baseline.score(*rows)).all()
    assert loaded.test(*rows).p_value == baseline.test(*rows).p_value
    for name in ("model", "version", "seed", "layer_names", "longest_window", "fitted_rows",
                 "classes", "groups", "width", "sha256"):  # fmt: skip
        assert getattr(loaded, name) == getattr(baseline, name), name


def test_saving_again_gives_the_same_contents(
    baseline: Baseline, path: Path, tmp_path: Path
) -> None:
    again = tmp_path / "deep" / "er" / "again.safetensors"

    sha256 = Baseline.load(str(path)).save(str(again))

    assert sha256 == baseline.sha256
    assert Baseline.load(str(again)).sha256 == sha256
    assert [p.name for p in again.parent.iterdir()] == [again.name]


def test_the_sha256_is_that_of_the_contents(baseline: Baseline, path: Path) -> None:
    with safe_open(str(path), framework="numpy") as file:
        stored = file.metadata()

    assert stored["format"] == FORMAT
    assert stored["sha256"] == baseline.sha256
    assert len(baseline.sha256) == hashlib.sha256().digest_size * 2
    described = orjson.loads(stored["baseline"])
    assert described["model"] == "signs"
    assert described["layers"] == ["early", "middle", "deep"]


def test_an_artefact_replaces_an_older_one(
    baseline: Baseline, deep_baseline: Baseline, tmp_path: Path
) -> None:
    path = str(tmp_path / "baseline.safetensors")

    baseline.save(path)
    deep_baseline.save(path)

    assert Baseline.load(path).sha256 == deep_baseline.sha256


def test_any_store_that_fsspec_knows_will_do(baseline: Baseline) -> None:
    url = "memory://models/signs/1/baseline.safetensors"

    sha256 = baseline.save(url)

    assert Baseline.load(url, sha256=sha256).sha256 == baseline.sha256
    assert fsspec.filesystem("memory").exists("/models/signs/1/baseline.safetensors")
    assert not fsspec.filesystem("memory").exists("/models/signs/1/baseline.safetensors.part")


def test_without_fsspec_paths_work_and_urls_are_refused_with_advice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)  # type: ignore[arg-type]

    loaded = Baseline.load(str(path))
    assert loaded.save(str(path.with_name("copy"))) == loaded.sha256
    with pytest.raises(ArtefactError, match="run `pip install fsspec`"):
        Baseline.load("s3://models/signs/1.safetensors")


def test_fitting_and_saving_are_repeatable_by_the_seed(deep_traffic: Any, content: bytes) -> None:
    url = "memory://repeatable.safetensors"
    small = {"longest_window": 32, "random_features": 16}

    assert deep_traffic.fit(200, 0, **small).save(url) == load_bytes(content).sha256
    assert deep_traffic.fit(200, 1, **small).save(url) != load_bytes(content).sha256


def load_bytes(content: bytes, **expected: str) -> Baseline:
    url = "memory://damaged.safetensors"
    fsspec.filesystem("memory").pipe_file("/damaged.safetensors", content)
    return Baseline.load(url, **expected)


def test_one_changed_byte_anywhere_is_noticed(content: bytes) -> None:
    end = 8 + int.from_bytes(content[:8], "little")
    # every byte of the header but the white space that fills it up, and many of the numbers
    header = len(content[:end].rstrip())
    places = np.random.default_rng(0).integers(end, len(content), 700).tolist()
    unnoticed = []
    for place in [*range(header), *places]:
        for mask in (0x01, 0x20, 0x80):
            damaged = bytearray(content)
            damaged[place] ^= mask
            try:
                load_bytes(bytes(damaged))
            except ArtefactError:
                continue
            unnoticed.append((place, mask))

    assert unnoticed == []


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_half_a_file_is_noticed(content: bytes, share: float) -> None:
    with pytest.raises(ArtefactError, match="is not a latentwatch baseline"):
        load_bytes(content[: int(share * len(content))])


def test_a_longer_file_is_noticed(content: bytes) -> None:
    with pytest.raises(ArtefactError, match="is not a latentwatch baseline"):
        load_bytes(content + b"\0")


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"PK\x03\x04 not at all",
        b"\x80\x04\x95 a pickle",
        b"\x02" + b"\0" * 7 + b"{}",
        b"\x12" + b"\0" * 7 + b'{"__metadata__":5}',
        b"\x02" + b"\0" * 7 + b"[]",
        b"\xff" * 64,
    ],
)
def test_another_file_is_refused_with_advice(other: bytes) -> None:
    with pytest.raises(ArtefactError, match="write one with 'latentwatch baseline fit'"):
        load_bytes(other)


def test_tensors_of_somebody_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(4, np.float32)}, path)
    with pytest.raises(ArtefactError, match="is not a latentwatch baseline"):
        Baseline.load(str(path))

    save_file({"weight": np.zeros(4, np.float32)}, path, metadata={"format": "pt"})
    with pytest.raises(ArtefactError, match="is not a latentwatch baseline"):
        Baseline.load(str(path))


def rewritten(content: bytes, tmp_path: Path, **metadata: str) -> bytes:
    """The same tensors with other metadata."""
    original, changed = tmp_path / "original", tmp_path / "changed"
    original.write_bytes(content)
    with safe_open(str(original), framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(tensors, changed, metadata=file.metadata() | metadata)
    return changed.read_bytes()


def test_another_format_is_refused_by_its_name(content: bytes, tmp_path: Path) -> None:
    newer = rewritten(content, tmp_path, format="latentwatch-baseline/999")

    with pytest.raises(ArtefactError, match=r"latentwatch-baseline/999.*fit the baseline again"):
        load_bytes(newer)


def test_changed_contents_are_refused_though_the_file_is_sound(
    content: bytes, tmp_path: Path
) -> None:
    original = load_bytes(rewritten(content, tmp_path))
    text = f'"longest_window":{original.longest_window}'
    with safe_open(str(tmp_path / "original"), framework="numpy") as file:
        described = file.metadata()["baseline"]
    assert text in described

    forged = rewritten(content, tmp_path, baseline=described.replace(text, '"longest_window":64'))

    with pytest.raises(ArtefactError, match="it was changed after it was written"):
        load_bytes(forged)


def test_the_expected_sha256_is_insisted_on(
    baseline: Baseline, deep_baseline: Baseline, path: Path
) -> None:
    assert Baseline.load(str(path), sha256=baseline.sha256).sha256 == baseline.sha256

    with pytest.raises(ArtefactError, match=f"not {deep_baseline.sha256}.*fetch it again"):
        Baseline.load(str(path), sha256=deep_baseline.sha256)


def test_a_file_that_is_not_there_is_said_to_be_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Baseline.load(str(tmp_path / "nothing.safetensors"))
