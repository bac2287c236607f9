"""Other detectors in a child process, and the comparison of all methods on the same windows."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentwatch.detector import Baseline, gaussian_kernel, mmd_squared, permutation_test
from latentwatch.lab.peers import DEFAULT_PYTHON, PEERS, PeersError, Work, check, judge, script
from latentwatch.lab.peers.against import METHODS, against, compare
from latentwatch.lab.peers.comparison import Comparison
from latentwatch.stream.core.errors import StreamError

OWN = Path(sys.executable)
REAL = Path(__file__).parents[3] / DEFAULT_PYTHON

WIDTH = 5


def rows(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, WIDTH)) + shift).astype(np.float32)


@pytest.fixture(scope="module")
def work() -> Work:
    """Windows of two sizes: the even ones clean, the odd ones shifted."""
    pooled = np.vstack([rows(200, 2), rows(200, 3, shift=1.5)])
    rng = np.random.default_rng(4)
    windows = [
        200 * (number % 2) + rng.choice(200, 20 + 10 * (number % 3), replace=False)
        for number in range(6)
    ]
    return Work(rows(120, 1), pooled, windows, alpha=0.01, seed=7)


def test_a_child_process_judges_every_window_and_tells_how_far_it_is(work: Work) -> None:
    steps: list[tuple[int, int]] = []

    found = judge(
        "mmd-permutation",
        work,
        python=OWN,
        progress=lambda done, total: steps.append((done, total)),
    )

    assert steps == [(number + 1, 6) for number in range(6)]
    assert found.rejected.tolist() == [False, True] * 3
    assert (found.p_values[1::2] <= 0.01).all()
    assert (found.p_values[::2] > 0.01).all()


def test_the_child_says_what_the_same_code_says_here(work: Work) -> None:
    there = judge("mmd-permutation", work, python=OWN)
    here = script.mmd_permutation(work.reference, work.alpha, work.seed)

    assert there.p_values.tolist() == [here(work.rows[window])[0] for window in work.windows]


def test_our_permutation_test_computes_the_exact_mmd() -> None:
    pooled = np.vstack([rows(30, 1), rows(12, 2, shift=0.4)])
    kernel = gaussian_kernel(pooled, pooled, 1.7)

    values = script.mmd_of_permutations(kernel, 12, np.random.default_rng(0))

    assert values.shape == (1 + script.PERMUTATIONS,)
    assert values[0] == pytest.approx(mmd_squared(kernel, 30))
    order = np.random.default_rng(0).permutation(42)
    member = np.isin(np.arange(42), order[:12])
    shuffled = np.concatenate([np.flatnonzero(~member), np.flatnonzero(member)])
    assert values[1] == pytest.approx(mmd_squared(kernel[np.ix_(shuffled, shuffled)], 30))


def test_our_permutation_test_agrees_with_the_detectors() -> None:
    reference = rows(60, 5)
    own = script.mmd_permutation(reference, 0.05, seed=0)
    distances = np.sqrt(script.squared_distances(reference, reference))
    bandwidth = float(np.median(distances[np.triu_indices(60, 1)]))
    for shift in (0.0, 0.25):
        window = rows(25, 6, shift)
        _, expected = permutation_test(
            reference,
            window,
            bandwidths=bandwidth,
            permutations=199,
            rng=np.random.default_rng(1),
        )
        assert own(window)[0] == pytest.approx(expected, abs=0.1)


def test_a_peer_that_fails_says_why() -> None:
    one = Work(rows(20, 1), rows(20, 2), [np.array([3])], alpha=0.01, seed=0)

    with pytest.raises(PeersError, match=r"(?s)status 1.*fewer than two rows"):
        judge("mmd-permutation", one, python=OWN)


def test_a_missing_interpreter_says_how_to_prepare_one(tmp_path: Path, work: Work) -> None:
    with pytest.raises(PeersError, match=r"cannot be run.*pip install -r .*requirements\.txt"):
        judge("alibi", work, python=tmp_path / "python")


@pytest.mark.parametrize("method", ["alibi", "frouros", "frouros-median"])
def test_an_interpreter_without_the_peer_says_how_to_install_it(method: str) -> None:
    with pytest.raises(PeersError, match=r"not installed: (alibi_detect|frouros); prepare"):
        check(method, OWN)


def test_a_callback_that_raises_ends_the_child(work: Work) -> None:
    others, children = set(child_processes()), set[int]()  # a broker of other tests may run

    def interrupted(done: int, total: int) -> None:
        children.update(set(child_processes()) - others)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge("mmd-permutation", work, python=OWN, progress=interrupted)

    assert children
    assert not children & set(child_processes())


def child_processes() -> list[int]:
    """Numbers of this process's children, on Linux."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not listed.exists():
        pytest.skip("the kernel does not list child processes")
    return [int(number) for number in listed.read_text().split()]


def test_every_peer_has_a_judge_and_every_pin_is_exact() -> None:
    assert set(script.METHODS) == set(PEERS)
    assert list(METHODS) == ["ladis", *PEERS]
    pins = (Path(script.__file__).with_name("requirements.txt")).read_text().splitlines()
    pinned = dict(line.split("==") for line in pins if line and not line.startswith("#"))
    assert pinned["alibi-detect"] == "0.13.0"
    assert pinned["frouros"] == "0.9.0"
    assert int(pinned["numpy"].split(".")[0]) < 2
    assert "torch" in pinned


@pytest.mark.skipif(
    not REAL.exists(), reason=f"{DEFAULT_PYTHON} is missing; see lab/peers/requirements.txt"
)
@pytest.mark.parametrize("method", ["alibi", "frouros", "frouros-median"])
def test_the_real_peers_see_a_plain_shift(method: str, work: Work) -> None:
    found = judge(method, work, python=REAL)

    assert found.rejected[1::2].all()
    assert not found.rejected[::2].any()
    assert (found.p_values[1::2] < 0.01).all()


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Two well separated classes in one layer, and an attack that is plain."""
    rng = np.random.default_rng(8)

    def draw(count: int, shift: float = 0.0) -> tuple[dict[str, Any], Any]:
        predicted = rng.integers(2, size=count)
        noise = rng.standard_normal((count, WIDTH)).astype(np.float32)
        return {"deep": noise + 4 * predicted[:, None] + np.float32(shift)}, predicted

    sets = {"baseline": draw(400), "clean": draw(520), "shifted": draw(110, shift=2.0)}
    baseline = Baseline.fit(
        *sets["baseline"],
        model="m",
        version="1",
        longest_window=32,
        random_features=32,
        simulated_requests=5_000,
    )
    return Comparison.of(baseline, sets)


def test_all_methods_are_measured_on_the_same_windows(comparison: Comparison) -> None:
    steps: dict[str, list[tuple[int, int]]] = {}

    found = dict(
        compare(
            comparison,
            ["mmd-permutation", "ladis", "ladis"],
            windows=2,
            python=OWN,
            progress=lambda method, done, total: steps.setdefault(method, []).append((done, total)),
        )
    )

    kinds = ["32@1.0", "50@1.0", "100@1.0", "50@0.3", "100@0.2", "200@0.1", "500@0.05"]
    assert list(found) == ["latentwatch", "mmd-permutation", "ladis"]
    for figures in found.values():
        assert list(figures["false_alarm"]) == ["32", "50", "100", "200", "500"]
        assert list(figures["power"]) == ["shifted"]
        assert list(figures["power"]["shifted"]) == kinds
        assert figures["power"]["shifted"]["100@1.0"] == 1.0
        assert figures["false_alarm"]["100"] == 0.0
        assert figures["reference_rows"] == 400
        assert figures["windows"] == 2
        assert figures["seconds"] > 0.0
    total = 2 * (5 + len(kinds))
    assert all(reported == [(i, total) for i in range(total + 1)] for reported in steps.values())
    assert list(steps) == list(found)


def test_a_method_that_fails_does_not_lose_what_others_found(comparison: Comparison) -> None:
    def interrupted(method: str, done: int, total: int) -> None:
        if (method, done) == ("mmd-permutation", 3):
            raise KeyboardInterrupt

    measured = compare(comparison, ["mmd-permutation"], windows=1, python=OWN, progress=interrupted)

    assert next(measured)[0] == "latentwatch"
    with pytest.raises(KeyboardInterrupt):
        next(measured)


def test_methods_are_checked_before_anything_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="unknown method 'psychic': choose among ladis, alibi"):
        against({}, ["psychic"])
    with pytest.raises(StreamError, match="prepare a Python"):
        against({}, ["ladis", "frouros"], python=tmp_path / "python")
