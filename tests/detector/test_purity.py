"""Rules of the detector: exports, imports, and no clock, log or hidden randomness."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latentwatch import detector

SOURCES = sorted(Path(detector.__file__).parent.rglob("*.py"))

ALLOWED = {
    "__future__", "collections", "contextlib", "dataclasses", "functools", "hashlib", "math",
    "pathlib", "struct", "typing", "zlib", "latentwatch", "fsspec", "numpy", "orjson",
    "safetensors", "scipy",
}  # fmt: skip

EXPORTS = {
    "ActivationsError", "ArtefactError", "Baseline", "BaselineError", "Block", "Calibration",
    "ConstantFeaturesError", "Contamination", "Decision", "DetectorError", "Difference",
    "DimensionError", "Evaluation", "Extraction", "ExtractionMonitor", "Features", "Finding",
    "Flagged", "LayerDifference", "Monitor", "NotFiniteError", "Requests", "RunLengths",
    "Screening", "Sketch", "SketchError", "Suspect", "TooFewRowsError", "UnseenClassError", "View",
    "ViewStatistics", "WindowTest", "attribution", "compare_baselines", "contamination", "decide",
    "evaluate", "flag", "gaussian_kernel", "mmd_squared", "permutation_test", "screen",
}  # fmt: skip


def test_the_package_exports_what_it_names() -> None:
    assert set(detector.__all__) == EXPORTS
    assert detector.__all__ == sorted(detector.__all__)
    for name in EXPORTS:
        assert callable(getattr(detector, name))


def test_every_export_says_what_it_is() -> None:
    for name in EXPORTS:
        assert (getattr(detector, name).__doc__ or "").strip(), name


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_sources_import_what_the_room_allows_and_call_nothing_impure(source: Path) -> None:
    tree = ast.parse(source.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

    assert imported <= ALLOWED
    assert not called & {"print", "open", "input", "exec", "eval", "warnings.warn"}
    # one generator per question, made from the caller's seed; its own methods may be called
    modules = {name for name in called if "random" in name.split(".")[:-1]}
    assert modules <= {"np.random.default_rng"}
    assert not any(name.startswith(("time.", "datetime.", "logging.")) for name in called)


def test_generators_are_made_from_a_seed_alone() -> None:
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.random.default_rng":
                assert node.args, f"{source.name}:{node.lineno} draws its seed from the system"


def test_importing_the_detector_brings_no_service_along() -> None:
    script = (
        "import sys, latentwatch.detector; "
        "names = {name.removeprefix('latentwatch.').split('.')[0] for name in sys.modules}; "
        "print(*sorted(names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.split())

    assert {"detector", "numpy", "scipy", "safetensors"} <= loaded
    # only URLs of object stores need it
    assert "fsspec" not in loaded
    assert not loaded & {"aiokafka", "faust", "mode", "structlog", "click", "rich", "pydantic"}
    assert not loaded & {"stream", "producers", "art", "matplotlib", "sklearn", "pandas"}


def test_work_leaves_the_global_random_state_alone(deep_baseline: detector.Baseline) -> None:
    before = np.random.get_state(legacy=False)

    rng = np.random.default_rng(0)
    detector.Baseline.fit(
        {"deep": rng.standard_normal((200, 4))},
        np.zeros(200, int),
        model="m",
        version="1",
        longest_window=32,
        random_features=16,
        simulated_requests=1_000,
    )
    detector.permutation_test([[0.0], [1.0]], [[2.0], [3.0]], bandwidths=1.0, permutations=3,
                              rng=rng)  # fmt: skip
    deep_baseline.score({"deep": np.zeros((3, 16))}, np.zeros(3, int))

    after = np.random.get_state(legacy=False)
    assert (after["state"]["key"] == before["state"]["key"]).all()
    assert after["state"]["pos"] == before["state"]["pos"]


def test_files_are_of_a_size_that_can_be_read() -> None:
    for source in SOURCES:
        assert len(source.read_text().splitlines()) < 400, source.name
