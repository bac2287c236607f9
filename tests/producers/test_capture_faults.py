"""Misuse of the capture hook: every fault raises on entry or from `read`, never in the model."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from latentwatch.producers import CaptureError, capture

BATCH = 4


def make_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def images() -> torch.Tensor:
    return torch.randn(BATCH, 3, 12, 12)


def test_no_match_lists_the_names_there_are() -> None:
    with pytest.raises(CaptureError, match=r"choose from: 0, 1, 2, 3"):
        capture(make_cnn(), include_regex="layer").__enter__()
    many = nn.Sequential(*[nn.Identity() for _ in range(50)])
    with pytest.raises(CaptureError, match=r"38, 39 and 10 more"):
        capture(many, include_regex="layer").__enter__()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(CaptureError, match="regular expression"):
        capture(make_cnn(), include_regex="(").__enter__()
    with pytest.raises(CaptureError, match="float16 or float32"):
        capture(make_cnn(), include_regex="0", dtype=torch.int8).__enter__()


def hook_count(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def test_hooks_are_removed_on_exit_and_after_an_exception() -> None:
    model = make_cnn()
    with capture(model, include_regex="."):
        assert hook_count(model) == 6
    assert hook_count(model) == 0
    with pytest.raises(RuntimeError, match="body"), capture(model, include_regex="."):
        raise RuntimeError("body")
    assert hook_count(model) == 0


def test_captures_can_be_nested() -> None:
    model = make_cnn()
    with torch.no_grad(), capture(model, include_regex="^0$") as outer:
        with capture(model, include_regex="^[04]$") as inner:
            model(images())
            assert set(inner.read()) == {"0", "4"}
        assert set(outer.read()) == {"0"}
        model(images())
        assert set(outer.read()) == {"0"}


def test_reading_needs_a_forward_pass_and_clears_it() -> None:
    model = make_cnn()
    with torch.no_grad(), capture(model, include_regex="^0$") as activations:
        with pytest.raises(CaptureError, match="call the model first"):
            activations.read()
        model(images())
        activations.read()
        with pytest.raises(CaptureError, match="call the model first"):
            activations.read()


def test_the_latest_of_several_passes_is_read() -> None:
    model = nn.Sequential(nn.Identity())
    with capture(model, include_regex="0") as activations:
        model(torch.zeros(3, 2))
        model(torch.ones(5, 2))
        captured = activations.read()["0"]

    assert captured.shape == (5, 2)
    assert (captured == 1).all()


def test_a_module_that_runs_twice_keeps_its_last_output() -> None:
    shared = nn.ReLU()
    model = nn.Sequential(shared, nn.Linear(2, 2), shared)
    with torch.no_grad(), capture(model, include_regex="^0$", dtype="float32") as activations:
        output = model(torch.randn(BATCH, 2))

    np.testing.assert_array_equal(activations.read()["0"], output.numpy())


class Choosing(nn.Module):
    """Runs one of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, batch: torch.Tensor, *, left: bool, right: bool) -> torch.Tensor:
        if left:
            batch = self.left(batch)
        return self.right(batch) if right else batch


def test_a_module_that_did_not_run_is_named_and_an_older_pass_is_not_mixed_in() -> None:
    model = Choosing()
    with torch.no_grad(), capture(model, include_regex=".") as activations:
        model(torch.ones(BATCH, 2), left=True, right=True)
        model(torch.ones(BATCH, 2), left=True, right=False)
        with pytest.raises(CaptureError, match="did not run in the forward pass: right;"):
            activations.read()


def test_different_row_counts_are_refused() -> None:
    class Halving(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch[: len(batch) // 2]

    model = nn.Sequential(nn.Identity(), Halving())
    with capture(model, include_regex=".") as activations:
        model(torch.ones(BATCH, 2))
        with pytest.raises(CaptureError, match=r"'0': 4, '1': 2"):
            activations.read()


def test_an_error_in_a_reducer_reaches_the_reader_and_not_the_model() -> None:
    def broken(name: str, tensor: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("reducer bug")

    model = make_cnn()
    with torch.no_grad(), capture(model, include_regex="^0$", reducer=broken) as activations:
        assert model(images()).shape == (BATCH, 10)
        with pytest.raises(CaptureError, match=r"module 0 .*reducer bug") as caught:
            activations.read()

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_outputs_that_cannot_be_rows_reach_the_reader_and_not_the_model() -> None:
    class Odd(nn.Module):
        def __init__(self, output: object) -> None:
            super().__init__()
            self.output = output

        def forward(self, batch: torch.Tensor) -> object:
            return self.output

    for output, says in (
        ("text", "contains no tensor"),
        ((), "contains no tensor"),
        (torch.tensor(1.0), "single number"),
    ):
        model = nn.Sequential(Odd(output))
        with capture(model, include_regex="0") as activations:
            assert model(torch.ones(1)) is output
            with pytest.raises(CaptureError, match=says):
                activations.read()


def test_a_reducer_must_return_rows() -> None:
    model = make_cnn()
    with (
        torch.no_grad(),
        capture(model, include_regex="^0$", reducer=lambda _, tensor: tensor) as activations,
    ):
        model(images())
        with pytest.raises(CaptureError, match=r"not \[B, d\]"):
            activations.read()


def test_a_new_pass_forgets_the_fault_of_the_one_before() -> None:
    def fussy(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if len(tensor) == BATCH else tensor[0, 0]

    model = nn.Sequential(nn.Identity())
    with capture(model, include_regex="0", reducer=fussy) as activations:
        model(torch.ones(BATCH + 1, 2))
        model(torch.ones(BATCH, 2))
        assert activations.read()["0"].shape == (BATCH, 2)


def test_each_thread_reads_its_own_passes() -> None:
    model = nn.Sequential(nn.Identity())
    wrong: list[object] = []
    start = threading.Barrier(4)

    def serve(number: int) -> None:
        start.wait()
        for count in range(1, 100):
            model(torch.full((count, 1), float(number)))
            captured = activations.read()["0"]
            if captured.shape != (count, 1) or not (captured == number).all():
                wrong.append(captured)

    with torch.no_grad(), capture(model, include_regex="0") as activations:
        threads = [threading.Thread(target=serve, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []
