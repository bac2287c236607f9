from pathlib import Path

import numpy as np
import pytest
import torch
from rich.progress import Progress

from latentwatch.lab.signs.attack import AttackSettings
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.network import SignNetwork, classify
from latentwatch.lab.signs.pictures import as_bytes
from latentwatch.lab.signs.templates import CLASS_NAMES
from latentwatch.lab.signs.traffic import plan_hours
from latentwatch.lab.signs.workload import AttackedRequests, Requests, make_requests, save_examples

PLAN = plan_hours(3, 40, 0.25, seed=2)


@pytest.fixture
def workload(network: SignNetwork, silent: Progress) -> tuple[Requests, AttackedRequests]:
    settings = AttackSettings(steps=4)
    return make_requests(network, PLAN, settings, seed=2, progress=silent)


def test_every_reference_leads_to_the_drawing(
    workload: tuple[Requests, AttackedRequests],
) -> None:
    requests, _ = workload
    for index in (0, 5, *np.flatnonzero(PLAN.adversarial)[:3].tolist()):
        seed, _, place = requests.input_refs[index].removeprefix("signs:").partition("/")
        drawn, label = draw_signs(1, seed=int(seed), first=int(place))
        moved = (drawn[0] - requests.images[index]).abs().max().item()
        assert label[0] == requests.labels[index]
        assert (0 < moved <= 0.03) if PLAN.adversarial[index] else moved == 0


def test_adversarial_requests_were_recognised_before_the_attack(
    network: SignNetwork, workload: tuple[Requests, AttackedRequests]
) -> None:
    requests, examples = workload
    assert np.array_equal(examples.rows, np.flatnonzero(PLAN.adversarial))
    assert torch.equal(classify(network, examples.clean.images), examples.clean.labels)
    assert torch.equal(requests.images[examples.rows], examples.attacked.images)
    assert torch.equal(requests.labels[examples.rows], examples.clean.labels)


def test_ids_and_references_are_unique(workload: tuple[Requests, AttackedRequests]) -> None:
    requests, _ = workload
    assert len(set(requests.ids)) == len(set(requests.input_refs)) == len(requests) == 120


def test_the_same_seed_gives_the_same_requests(
    network: SignNetwork, silent: Progress, workload: tuple[Requests, AttackedRequests]
) -> None:
    again, _ = make_requests(network, PLAN, AttackSettings(steps=4), seed=2, progress=silent)
    requests, _ = workload
    assert again.ids == requests.ids
    assert again.input_refs == requests.input_refs
    assert torch.equal(again.images, requests.images)


def test_examples_show_clean_and_adversarial_pictures(
    tmp_path: Path, network: SignNetwork, workload: tuple[Requests, AttackedRequests]
) -> None:
    requests, examples = workload
    save_examples(tmp_path / "examples.npz", network, requests, examples)
    with np.load(tmp_path / "examples.npz") as saved:
        assert saved["request_id"].tolist() == [requests.ids[row] for row in examples.rows]
        assert np.array_equal(saved["clean"], as_bytes(examples.clean.images))
        assert np.array_equal(saved["adversarial"], as_bytes(examples.attacked.images))
        assert np.array_equal(saved["predicted_clean"], saved["label"])
        fooled = saved["predicted_adversarial"] != saved["label"]
        assert np.array_equal(fooled, examples.attacked.fooled.numpy())
        assert tuple(saved["names"].tolist()) == CLASS_NAMES
