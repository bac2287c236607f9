"""The capture hook: what `read` returns, and that the model is not affected."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from latentwatch.producers import capture

BATCH = 4


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def make_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def images(count: int = BATCH) -> torch.Tensor:
    return torch.randn(count, 3, 12, 12)


class Block(nn.Module):
    """A transformer block over [B, tokens, d]."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normed = self.norm(tokens)
        attended: torch.Tensor = self.attention(normed, normed, normed)[0]
        result: torch.Tensor = self.mlp(tokens + attended)
        return result


def test_spatial_maps_are_average_pooled() -> None:
    model, batch = make_cnn().eval(), images()
    with torch.no_grad():
        first = model[0](batch)
        third = model[:4](batch)

        with capture(model, include_regex=r"^[03]$", dtype="float32") as activations:
            model(batch)
            captured = activations.read()

    assert activations.names == ("0", "3")
    assert {name: array.shape for name, array in captured.items()} == {"0": (4, 8), "3": (4, 16)}
    np.testing.assert_allclose(captured["0"], first.mean((2, 3)).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(captured["3"], third.mean((2, 3)).numpy(), rtol=1e-5, atol=1e-6)


def test_an_in_place_operation_after_the_hook_does_not_reach_what_was_captured() -> None:
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True))
    batch = torch.randn(BATCH, 5)
    with torch.no_grad():
        expected = model[0](batch).numpy()
        with capture(model, include_regex="^0$", dtype="float32") as activations:
            model(batch)
            captured = activations.read()["0"]

    assert (captured < 0).any()
    np.testing.assert_allclose(captured, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("module", "batch", "shape"),
    [
        (nn.Linear(5, 6), torch.ones(BATCH, 5), (BATCH, 6)),
        (nn.Conv1d(2, 3, 3), torch.ones(BATCH, 2, 9), (BATCH, 3)),
        (nn.Conv3d(2, 3, 3), torch.ones(BATCH, 2, 5, 5, 5), (BATCH, 3)),
        (nn.Flatten(0), torch.ones(BATCH), (BATCH, 1)),
        (nn.Identity(), torch.ones(BATCH, 2, 3, 3), (BATCH, 2)),
        (nn.Identity(), torch.ones(BATCH, 2, 2, 2, 2, 2), (BATCH, 32)),
        (nn.Identity(), torch.ones(0, 7), (0, 7)),
        (nn.Identity(), torch.ones(BATCH, 2, dtype=torch.int64), (BATCH, 2)),
        (nn.Identity(), torch.ones(BATCH, 2, dtype=torch.bfloat16), (BATCH, 2)),
        (nn.LSTM(5, 6, batch_first=True), torch.ones(BATCH, 3, 5), (BATCH, 6)),
    ],
)
def test_every_output_becomes_rows(
    module: nn.Module, batch: torch.Tensor, shape: tuple[int, int]
) -> None:
    model = nn.Sequential(module)
    with torch.no_grad(), capture(model, include_regex="^0$") as activations:
        model(batch)
        captured = activations.read()["0"]

    assert captured.shape == shape
    assert captured.dtype == np.float16


def test_tokens_are_averaged_where_channels_come_last() -> None:
    model, tokens = nn.Sequential(Block(), Block()).eval(), torch.randn(BATCH, 5, 8)
    with torch.no_grad():
        expected = model[0](tokens).mean(1).numpy()
        with capture(model, include_regex=r"^0(\.mlp\.1|\.attention)?$", dtype="float32") as taken:
            model(tokens)
            captured = taken.read()

    # 0.mlp.1 is the activation function, which says nothing about axes; the block around it does
    assert {name: array.shape for name, array in captured.items()} == {
        "0": (BATCH, 8),
        "0.attention": (BATCH, 8),
        "0.mlp.1": (BATCH, 16),
    }
    np.testing.assert_allclose(captured["0"], expected, rtol=1e-5, atol=1e-6)


def test_channel_last_maps_of_a_linear_layer_are_averaged_over_space() -> None:
    model = nn.Sequential(nn.Linear(8, 6))
    with torch.no_grad(), capture(model, include_regex="0") as activations:
        model(torch.randn(BATCH, 7, 7, 8))

    assert activations.read()["0"].shape == (BATCH, 6)


def test_the_first_tensor_of_a_structure_is_taken() -> None:
    class Structured(nn.Module):
        def forward(self, batch: torch.Tensor) -> dict[str, Any]:
            return {"loss": None, "hidden": [(batch, batch + 1), batch + 2]}

    model = nn.Sequential(Structured())
    with capture(model, include_regex="0", dtype="float32") as activations:
        model(torch.full((BATCH, 2), 5.0))

    assert (activations.read()["0"] == 5.0).all()


def test_a_reducer_replaces_the_default() -> None:
    seen: list[str] = []

    def largest(name: str, tensor: torch.Tensor) -> torch.Tensor:
        seen.append(name)
        return tensor.amax(dim=(2, 3))

    model, batch = make_cnn(), images()
    with (
        torch.no_grad(),
        capture(model, include_regex="^0$", reducer=largest, dtype="float32") as activations,
    ):
        model(batch)
        expected = model[0](batch).amax(dim=(2, 3)).numpy()
        model(batch)
        captured = activations.read()["0"]

    assert set(seen) == {"0"}
    np.testing.assert_allclose(captured, expected, rtol=1e-6)


def test_outputs_and_gradients_are_the_same_with_and_without_the_hook() -> None:
    plain = nn.Sequential(make_cnn(), nn.Linear(10, 10))
    hooked = copy.deepcopy(plain)
    batch = images()
    results = []
    for model in (plain, hooked):
        leaf = batch.clone().requires_grad_()
        if model is hooked:
            with capture(model, include_regex=".") as activations:
                output = model(leaf)
                output.square().sum().backward()
                assert len(activations.read()) == 10
        else:
            output = model(leaf)
            output.square().sum().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        results.append([output.detach(), leaf.grad, *gradients])

    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right)


def test_captured_rows_hold_no_graph() -> None:
    model = nn.Sequential(nn.Linear(5, 6))
    with capture(model, include_regex="0", reducer=lambda _, tensor: tensor * 2) as activations:
        model(torch.randn(BATCH, 5, requires_grad=True))
        assert activations.read()["0"].shape == (BATCH, 6)  # numpy() would refuse a graph


class HostCopies(TorchFunctionMode):
    """Counts the calls that bring tensor data to the host."""

    NAMES = frozenset({"cpu", "item", "tolist", "numpy", "__array__", "__float__", "__bool__"})

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.NAMES:
            self.calls.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_all_layers_reach_the_host_in_one_copy() -> None:
    model = make_cnn()
    with torch.no_grad(), capture(model, include_regex=".") as activations:
        with HostCopies() as forward:
            model(images())
        with HostCopies() as reading:
            captured = activations.read()

    assert len(captured) == 8
    assert forward.calls == []
    assert reading.calls == ["cpu", "numpy"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_all_layers_leave_the_gpu_in_one_copy() -> None:
    class DeviceToHost(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            tensors = [item for item in args if isinstance(item, torch.Tensor)]
            if isinstance(result, torch.Tensor) and result.device.type == "cpu":
                self.count += any(tensor.is_cuda for tensor in tensors)
            self.count += func is torch.ops.aten._local_scalar_dense.default
            return result

    model = make_cnn().cuda().eval()
    batch = images().cuda()
    with torch.no_grad(), capture(model, include_regex=".", dtype="float32") as activations:
        with DeviceToHost() as copies:
            model(batch)
            captured = activations.read()
        expected = model[0](batch).mean((2, 3)).cpu().numpy()

    assert copies.count == 1
    np.testing.assert_allclose(captured["0"], expected, rtol=1e-4, atol=1e-5)


def test_float16_saturates() -> None:
    model = nn.Sequential(nn.Identity())
    with capture(model, include_regex="0") as activations:
        model(torch.tensor([[1e6, -torch.inf, 1.0]], dtype=torch.float32))

    assert activations.read()["0"].tolist() == [[65504.0, -65504.0, 1.0]]


def test_not_a_number_is_not_hidden() -> None:
    model = nn.Sequential(nn.Identity())
    with capture(model, include_regex="0") as activations:
        model(torch.tensor([[torch.nan, 1.0]]))

    assert np.isnan(activations.read()["0"][0, 0])


def test_names_are_searched_and_the_model_itself_is_left_out() -> None:
    model = nn.Sequential(Block(), Block())
    for pattern, expected in (
        (r"norm$", ("0.norm", "1.norm")),
        (re.compile(r"NORM", re.I), ("0.norm", "1.norm")),
        (r"^1\.mlp", ("1.mlp", "1.mlp.0", "1.mlp.1", "1.mlp.2")),
    ):
        with capture(model, include_regex=pattern) as activations:
            assert activations.names == expected
    with capture(model, include_regex="") as activations:
        assert "" not in activations.names


def test_a_hooked_model_can_be_copied() -> None:
    model = make_cnn().eval()
    with torch.no_grad(), capture(model, include_regex="^0$"):
        twin = copy.deepcopy(model)
        batch = images()
        assert torch.equal(twin(batch), model(batch))


def test_inference_mode_and_autocast_are_fine() -> None:
    model = make_cnn().eval()
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16),
        capture(model, include_regex="^[07]$") as activations,
    ):
        model(images())
        captured = activations.read()

    assert captured["0"].dtype == np.float16
    assert captured["7"].shape == (BATCH, 10)
