import pytest
import torch
from torch import Tensor

from latentwatch.chaos.traffic.drift import STRENGTHS, corrupt
from latentwatch.lab.signs.drawing import draw_signs

KINDS = list(STRENGTHS)
RANDOM = ("noise", "fog")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return draw_signs(40, seed=1)[0]


@pytest.mark.parametrize("strength", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_corrupted_pictures_are_8_bit_pictures(images: Tensor, kind: str, strength: int) -> None:
    found = corrupt(images, kind, strength, seed=1)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert torch.equal(found, (found.clamp(0, 1) * 255).round() / 255)
    assert not torch.equal(found, images)


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_strength_changes_every_picture_more(images: Tensor, kind: str) -> None:
    mild, medium, strong = (
        (corrupt(images, kind, strength, seed=1) - images).abs().mean(dim=(1, 2, 3))
        for strength in (1, 2, 3)
    )
    assert (mild > 0).all()
    assert (mild < medium).all()
    assert (medium < strong).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_corrupts_in_the_same_way(images: Tensor, kind: str) -> None:
    first, again, other = (corrupt(images, kind, 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) is (kind not in RANDOM)


def test_noise_has_its_deviation() -> None:
    grey = torch.full((20, 3, 32, 32), 128 / 255)
    for strength, deviation in enumerate(STRENGTHS["noise"], start=1):
        noise = corrupt(grey, "noise", strength, seed=3) - grey
        assert noise.std().item() == pytest.approx(deviation, rel=0.02)
        assert noise.mean().abs() < 1e-3


def test_brightness_multiplies_until_white() -> None:
    half, light = torch.full((1, 3, 32, 32), 100 / 255), torch.full((1, 3, 32, 32), 200 / 255)
    assert torch.all(corrupt(half, "brightness", 2, seed=1) == 135 / 255)
    assert torch.all(corrupt(light, "brightness", 3, seed=1) == 1)


def test_blur_keeps_flat_pictures_and_softens_edges() -> None:
    flat = torch.full((1, 3, 32, 32), 77 / 255)
    edge = flat.clone()
    edge[..., 16:] = 1
    assert torch.equal(corrupt(flat, "blur", 3, seed=1), flat)
    seen = corrupt(edge, "blur", 3, seed=1)[0, 0, 16]
    assert torch.all(seen.diff() >= 0)
    assert seen.diff().max() < 0.5 * edge[0, 0, 16].diff().max()


def test_fog_draws_pictures_together_and_differs_from_place_to_place() -> None:
    pair = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])
    for strength, share in enumerate(STRENGTHS["fog"], start=1):
        foggy = corrupt(pair, "fog", strength, seed=1)
        assert 1 - (foggy[1] - foggy[0]).mean().item() == pytest.approx(share, rel=0.2)
        assert foggy[0].std() > 0.005
        assert torch.equal(foggy[0, 0], foggy[0, 1])  # fog is grey


def test_pictures_do_not_share_their_noise(images: Tensor) -> None:
    same = images[:1].expand(2, -1, -1, -1)
    for kind in RANDOM:
        found = corrupt(same, kind, 2, seed=1)
        assert not torch.equal(found[0], found[1])
