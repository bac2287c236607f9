import pytest
import torch

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.lab.signs.drawing import BLOCK, CLASS_NAMES, IMAGE_SIZE, draw_signs


def test_drawings_are_8_bit_pictures_with_labels() -> None:
    images, labels = draw_signs(40, seed=1)
    assert images.shape == (40, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, (images * 255).round() / 255)
    assert labels.dtype == torch.int64
    assert labels.shape == (40,)


def test_same_seed_draws_the_same_signs() -> None:
    first, second = draw_signs(30, seed=5), draw_signs(30, seed=5)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_another_seed_draws_other_signs() -> None:
    assert not torch.equal(draw_signs(30, seed=5)[0], draw_signs(30, seed=6)[0])


def test_a_longer_data_set_begins_with_the_shorter_one() -> None:
    long, short = draw_signs(BLOCK + 10, seed=2), draw_signs(BLOCK - 10, seed=2)
    assert torch.equal(long[0][: BLOCK - 10], short[0])


@pytest.mark.parametrize("index", [0, 7, BLOCK - 1, BLOCK, BLOCK + 3])
def test_any_picture_can_be_drawn_again_by_its_index(index: int) -> None:
    images, labels = draw_signs(BLOCK + 5, seed=3)
    again, label = draw_signs(1, seed=3, first=index)
    assert torch.equal(again[0], images[index])
    assert label[0] == labels[index]


def test_a_range_may_span_blocks() -> None:
    images, _ = draw_signs(BLOCK + 5, seed=3)
    assert torch.equal(draw_signs(10, seed=3, first=BLOCK - 5)[0], images[BLOCK - 5 :])


def test_every_class_comes_equally_often() -> None:
    counts = draw_signs(BLOCK, seed=4)[1].bincount(minlength=len(CLASS_NAMES))
    assert counts.max() - counts.min() <= 1


def test_classes_come_in_random_order() -> None:
    labels = draw_signs(BLOCK, seed=4)[1]
    assert len(labels[: len(CLASS_NAMES)].unique()) < len(CLASS_NAMES)


def test_no_two_pictures_of_a_class_are_the_same() -> None:
    images, labels = draw_signs(BLOCK, seed=4)
    stops = images[labels == CLASS_NAMES.index("stop")].flatten(1)
    assert len(stops.unique(dim=0)) == len(stops)


def test_a_sign_has_its_colour() -> None:
    images, labels = draw_signs(BLOCK, seed=8)
    red, blue = CLASS_NAMES.index("no entry"), CLASS_NAMES.index("keep right")
    middle = slice(IMAGE_SIZE // 2 - 6, IMAGE_SIZE // 2 + 6)
    colours = images[:, :, middle, middle].mean(dim=(2, 3))
    assert (colours[labels == red, 0] > colours[labels == red, 2]).double().mean() > 0.9
    assert (colours[labels == blue, 2] > colours[labels == blue, 0]).double().mean() > 0.9


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    draw_signs(3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_can_be_drawn() -> None:
    images, labels = draw_signs(0, seed=1)
    assert images.shape == (0, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert labels.shape == (0,)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        draw_signs(-1, seed=1)


def test_seeds_of_different_purposes_and_users_differ() -> None:
    seeds = {derived_seed(seed, name) for seed in range(50) for name in ("a", "b", "ab", "ba")}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
