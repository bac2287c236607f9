"""Debugger tensors as docs/import.md exports them: steps, pooling, classes, damaged files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

from latentwatch.stream.recording import Recording

Run = Callable[..., Result]
WANTED = ("--predicted", "output_0", "--start", "2026-01-05T10:59:59Z")


def save_steps(folder: Path, steps: dict[int, dict[str, NDArray[Any]]]) -> Path:
    """One file per step, as the snippet of docs/import.md writes them."""
    folder.mkdir()
    for step, tensors in steps.items():
        np.savez(folder / f"step-{step:08}.npz", **tensors)  # type: ignore[arg-type]
    return folder


def tensors(seed: int, rows: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "relu_output_0": rng.standard_normal((rows, 3, 4, 5)).astype(np.float32),
        "fc_input_0": rng.standard_normal((rows, 6)).astype(np.float32),
        "output_0": rng.standard_normal((rows, 3)).astype(np.float32),
    }


def test_steps_become_messages_with_pooled_layers_and_the_best_class(
    run: Run, names: Any, tmp_path: Path
) -> None:
    steps = {10: tensors(1, 4), 2: tensors(2, 3)}
    folder = save_steps(tmp_path / "tensors", steps)
    result = run("import", "debugger", folder, *names, *WANTED, "--step-seconds", "0.5")
    assert result.exit_code == 0, result.output
    assert "imported 7 requests in 2 messages" in result.stdout
    recording = Recording(str(tmp_path / "out"))
    assert recording.layers() == {"relu_output_0": 3, "fc_input_0": 6}
    ordered = [steps[2], steps[10]]
    deep = np.concatenate([one["fc_input_0"] for one in ordered])
    assert recording.array("fc_input_0").tobytes() == deep.tobytes()
    spatial = np.concatenate([one["relu_output_0"] for one in ordered]).astype(np.float64)
    pooled = spatial.mean(axis=(2, 3)).astype(np.float32)
    np.testing.assert_allclose(recording.array("relu_output_0"), pooled, rtol=1e-6)
    best = np.concatenate([one["output_0"].argmax(axis=1) for one in ordered])
    assert recording.predicted().tolist() == best.tolist()
    ids = recording.requests()["request_id"].to_pylist()
    assert ids == ["2/0", "2/1", "2/2", "10/0", "10/1", "10/2", "10/3"]
    start = (1_767_607_200 + 3_599) * 10**9
    assert recording.event_time_ns().tolist() == [start + 10**9] * 3 + [start + 5 * 10**9] * 4


def test_a_file_for_each_collection_holds_the_same(run: Run, names: Any, tmp_path: Path) -> None:
    """Arrays named <tensor>/<step>; names that a layer may not have are made ones that it may."""
    folder = tmp_path / "tensors"
    folder.mkdir()
    steps = {3: tensors(1, 2), 4: tensors(2, 2)}
    relu = {f"block/relu:0/{step}": found["relu_output_0"] for step, found in steps.items()}
    outputs = {f"output_0/{step}": np.array([[1], [0]]) for step in steps}
    np.savez(folder / "relu_activations.npz", **relu)  # type: ignore[arg-type]
    np.savez(folder / "outputs.npz", **outputs)  # type: ignore[arg-type]
    result = run("import", "debugger", folder, *names, *WANTED, "--channels-last")
    assert result.exit_code == 0, result.output
    recording = Recording(str(tmp_path / "out"))
    assert recording.layers() == {"block_relu_0": 5}
    spatial = np.concatenate([one["relu_output_0"] for one in steps.values()])
    wanted = spatial.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(recording.array("block_relu_0"), wanted, rtol=1e-6)
    assert recording.predicted().tolist() == [1, 0, 1, 0]


def test_tensors_are_chosen_by_a_regular_expression(run: Run, names: Any, tmp_path: Path) -> None:
    steps = {0: tensors(1, 2) | {"fc.weight": np.zeros((7, 6), dtype=np.float32)}}
    folder = save_steps(tmp_path / "tensors", steps)
    refused = run("import", "debugger", folder, *names, *WANTED)
    assert refused.exit_code == 1
    assert "unequal rows: 1, first at tensors, step 0" in refused.stderr
    chosen = run("import", "debugger", folder, *names, *WANTED, "--include-regex", "^fc_input")
    assert chosen.exit_code == 0, chosen.output
    assert Recording(str(tmp_path / "out")).layers() == {"fc_input_0": 6}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--predicted", "logits"), "has no tensor logits, but relu_output_0, fc_input_0"),
        (("--include-regex", "conv"), "has no one that matches 'conv'"),
        (("--model", "a/b"), "nothing can be imported under these names"),
    ],
)
def test_what_is_not_there_is_named(
    run: Run, names: Any, tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    folder = save_steps(tmp_path / "tensors", {0: tensors(1, 2)})
    result = run("import", "debugger", folder, *names, *WANTED, *options)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert text in line


def test_steps_that_are_damaged_or_lack_a_tensor_are_counted(
    run: Run, names: Any, tmp_path: Path
) -> None:
    steps = {number: tensors(number, 2) for number in (1, 2, 3, 4)}
    del steps[2]["fc_input_0"]
    steps[3]["fc_input_0"][1, 0] = np.nan
    folder = save_steps(tmp_path / "tensors", steps)
    whole = (folder / "step-00000004.npz").read_bytes()
    (folder / "step-00000004.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "readme.txt").write_text("exported on Monday")
    np.savez(folder / "stray.npz", fc=np.zeros((2, 2)))
    result = run("import", "debugger", folder, *names, *WANTED)
    assert result.exit_code == 0, result.output
    assert "imported 3 requests in 2 messages" in result.stdout
    for reason in ("tensor missing", "not finite", "damaged file", "other file", "no step"):
        assert reason in result.stdout
    ids = Recording(str(tmp_path / "out")).requests()["request_id"].to_pylist()
    assert ids == ["1/0", "1/1", "3/0"]


def test_one_tensor_of_one_step_in_two_files_is_refused(
    run: Run, names: Any, tmp_path: Path
) -> None:
    folder = save_steps(tmp_path / "tensors", {1: tensors(1, 2)})
    np.savez(folder / "eval-1.npz", **tensors(2, 2))  # type: ignore[arg-type]
    result = run("import", "debugger", folder, *names, *WANTED)
    assert result.exit_code == 1
    assert "both have tensor relu_output_0 of step 1" in result.stderr


def test_wrong_usage_is_reported(run: Run, names: Any, tmp_path: Path) -> None:
    folder = save_steps(tmp_path / "tensors", {1: tensors(1, 2)})
    for options in (("--start", "Monday"), ("--include-regex", "("), ("--step-seconds", "0")):
        result = run("import", "debugger", folder, *names, *WANTED, *options)
        assert result.exit_code == 2
        assert options[0] in result.stderr
