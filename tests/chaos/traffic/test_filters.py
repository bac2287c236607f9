import pytest
import torch

from latentwatch.chaos.traffic.filters import blur, round_to_8_bits


def test_rounding_clips_and_lands_on_the_8_bit_grid() -> None:
    rounded = round_to_8_bits(torch.tensor([-0.2, 0.0, 0.1234, 1.0, 1.7]))
    assert torch.equal(rounded, torch.tensor([0, 0, 31, 255, 255]) / 255)


def test_blur_keeps_a_flat_picture() -> None:
    flat = torch.full((2, 3, 8, 8), 0.4)
    torch.testing.assert_close(blur(flat, torch.full((2, 2), 0.7)), flat)


def test_blur_spreads_a_dot_as_a_gaussian_does() -> None:
    dot = torch.zeros(1, 1, 9, 9)
    dot[0, 0, 4, 4] = 1
    seen = blur(dot, torch.tensor([[0.8, 0.5]]))[0, 0]
    assert seen.sum().item() == pytest.approx(1)
    ratio_across = (seen[4, 5] / seen[4, 4]).item()
    ratio_down = (seen[5, 4] / seen[4, 4]).item()
    assert ratio_across == pytest.approx(torch.exp(torch.tensor(-0.5 / 0.8**2)).item(), rel=1e-5)
    assert ratio_down == pytest.approx(torch.exp(torch.tensor(-0.5 / 0.5**2)).item(), rel=1e-5)
