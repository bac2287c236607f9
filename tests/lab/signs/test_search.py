from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.search import Judge, Judged, gradient, search

EPS = 0.03
Allowed = Callable[[Tensor, Tensor, float], bool]


@pytest.fixture
def images() -> Tensor:
    return draw_signs(6, seed=1)[0]


def run(images: Tensor, judge: Judge, steps: int = 30, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return search(images, judge, eps=EPS, steps=steps, generator=generator)


def towards(goal: Tensor) -> Judge:
    """Squared distance to a goal, and the sign of its gradient."""

    def judge(pictures: Tensor) -> Judged:
        distance = (pictures - goal).square().sum(dim=(1, 2, 3))
        return Judged(gradient(distance.sum(), pictures).sign(), distance.detach())

    return judge


def test_a_goal_within_the_ball_is_found(images: Tensor) -> None:
    steps = torch.randint(-7, 8, images.shape, generator=torch.Generator().manual_seed(2))
    goal = ((images * 255).round() + steps).clamp(0, 255) / 255
    missed = (run(images, towards(goal)) - goal).abs() * 255
    assert missed.max() < 1.5
    assert (missed < 0.5).double().mean() > 0.95


def test_a_goal_beyond_the_ball_is_approached_up_to_its_edge(
    images: Tensor, is_allowed: Allowed
) -> None:
    found = run(images, towards(torch.ones_like(images)))
    assert is_allowed(found, images, EPS)
    edge = (images * 255 + 7).clamp(max=255) / 255  # 0.03 allows seven steps of 1/255
    assert (found - edge).abs().max() <= 1 / 255 + 1e-6


def test_pictures_are_judged_as_8_bit_files_carry_them(images: Tensor, is_allowed: Allowed) -> None:
    judged: list[Tensor] = []

    def judge(pictures: Tensor) -> Judged:
        judged.append(pictures.detach())
        return towards(torch.zeros_like(images))(pictures)

    found = run(images, judge, steps=5)
    assert len(judged) == 5
    assert all(is_allowed(pictures, images, EPS) for pictures in judged)
    assert torch.equal(found, judged[-1])


def test_at_the_edge_the_search_turns_at_once(images: Tensor) -> None:
    """What was pushed against the edge for some steps must not be owed on the way back."""
    dark = images * 0.5  # no pixel is near white
    steps = iter(range(30))

    def judge(pictures: Tensor) -> Judged:
        step = next(steps)
        uphill = torch.full_like(pictures, -1.0 if step < 5 else 1.0)
        return Judged(uphill, torch.full((len(pictures),), float(-step)))

    dark = (dark * 255).round() / 255
    found = run(dark, judge)
    assert torch.equal((found * 255).round(), ((dark * 255).round() - 7).clamp(min=0))


def test_each_picture_keeps_its_own_best_moment(images: Tensor) -> None:
    judged: list[Tensor] = []

    def judge(pictures: Tensor) -> Judged:
        """The first three pictures were best at the second step, the others at the third."""
        judged.append(pictures.detach())
        best = torch.tensor([1, 1, 1, 2, 2, 2])
        cost = (best - (len(judged) - 1)).abs().float()
        return Judged(torch.ones_like(pictures), cost)

    found = run(images, judge, steps=4)
    assert torch.equal(found[:3], judged[1][:3])
    assert torch.equal(found[3:], judged[2][3:])
    assert not torch.equal(judged[1], judged[2])


def test_a_cost_that_is_no_number_leaves_the_picture_alone(images: Tensor) -> None:
    def judge(pictures: Tensor) -> Judged:
        return Judged(torch.ones_like(pictures), torch.full((len(pictures),), torch.nan))

    assert torch.equal(run(images, judge), images)


def test_the_generator_decides_the_start(images: Tensor) -> None:
    judge = towards(images)
    first, again, other = (run(images, judge, steps=1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
