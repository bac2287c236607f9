from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from rich.progress import Progress

from latentwatch.chaos.traffic.drift import STRENGTHS
from latentwatch.chaos.traffic.sets import figures_file, save_arrays
from latentwatch.detector.evaluation.sets import is_drift, split_sets
from latentwatch.lab.signs.adaptive import Knowledge
from latentwatch.lab.signs.attack import AttackSettings, Recognised
from latentwatch.lab.signs.datasets import (
    ActivationSets,
    AttackFigures,
    SetSizes,
    adaptive_sets,
    attack_name,
    evaluation_sets,
    validation_arrays,
)
from latentwatch.lab.signs.network import classify

SIZES = SetSizes(baseline=50, clean=40, shifted=30)
LAYERS = ("layer1", "layer3", "layer4")
PUBLISHED = ["pgd_eps03", "pgd_targeted_eps03", "fgsm_eps03", "feature_match_eps03"]
DRIFTS = [f"drift_{kind}_{strength}" for kind in STRENGTHS for strength in (1, 2, 3)]


@pytest.fixture(scope="module")
def sets(knowledge: Knowledge) -> ActivationSets:
    settings = AttackSettings(steps=3)
    progress = Progress(disable=True)
    return evaluation_sets(knowledge.model, settings, SIZES, seed=1, progress=progress)


@pytest.fixture(scope="module")
def adapted(knowledge: Knowledge) -> ActivationSets:
    settings = AttackSettings(steps=2, batch_size=16)
    progress = Progress(disable=True)
    return adaptive_sets(knowledge, settings, rows=30, seed=1, progress=progress)


def test_all_sets_are_there_with_their_rows(sets: ActivationSets) -> None:
    rows = {"baseline": 50, "clean": 40} | dict.fromkeys(PUBLISHED + DRIFTS, 30)
    assert set(sets.arrays) == {f"{name}.{own}" for name in rows for own in (*LAYERS, "predicted")}
    assert all(len(array) == rows[name.split(".")[0]] for name, array in sets.arrays.items())


def test_the_detector_knows_attacks_from_drift_by_their_names(sets: ActivationSets) -> None:
    found = split_sets(sets.arrays, None)
    assert [name for name in found if is_drift(name)] == DRIFTS
    assert list(sets.attacks) == PUBLISHED


def test_no_two_sets_hold_the_same_pictures(sets: ActivationSets, adapted: ActivationSets) -> None:
    arrays = sets.arrays | adapted.arrays
    deep = np.concatenate([rows for name, rows in arrays.items() if name.endswith(".layer3")])
    assert len(np.unique(deep, axis=0)) == len(deep) == 90 + 30 * (4 + 12 + 6)


def test_figures_say_how_many_pictures_fool_the_network(
    knowledge: Knowledge, pictures: Recognised
) -> None:
    sets = ActivationSets()
    changed = pictures.images.clone()
    changed[:8] = 0.5  # grey is at most one of the classes
    sets.add_attack("greyed", knowledge.model, changed, pictures, 0.5)
    wrong = (classify(knowledge.model, changed) != pictures.labels).double().mean().item()
    assert 0 < wrong <= 0.25
    assert sets.attacks == {"greyed": AttackFigures(wrong, 0.5, 32)}
    assert len(sets.arrays["greyed.predicted"]) == 32


def test_attacks_start_from_recognised_pictures(
    knowledge: Knowledge, sets: ActivationSets, adapted: ActivationSets
) -> None:
    """A change too small to matter fools nobody."""
    settings = AttackSettings(eps=1 / 255, steps=1)
    sizes = SetSizes(baseline=1, clean=1, shifted=30)
    progress = Progress(disable=True)
    weak = evaluation_sets(knowledge.model, settings, sizes, seed=1, progress=progress).attacks
    assert all(figures.success <= 0.35 for figures in weak.values())
    assert sets.attacks["pgd_eps03"].success > 0.5
    assert {figures.rows for figures in (adapted.attacks | weak).values()} == {30}


def test_validation_rows_are_those_of_the_baseline_set(
    knowledge: Knowledge, sets: ActivationSets
) -> None:
    alone = validation_arrays(knowledge.model, seed=1, count=50)
    assert all(np.array_equal(rows, sets.arrays[name]) for name, rows in alone.items())


def test_adaptive_sets_can_be_read_beside_the_others(
    sets: ActivationSets, adapted: ActivationSets
) -> None:
    found = split_sets(sets.arrays | adapted.arrays, None)
    assert set(adapted.attacks) == {name for name in found if name.startswith("adaptive_")}
    for name in adapted.attacks:
        activations, predicted = found[name]
        assert list(activations) == list(LAYERS)
        assert {len(rows) for rows in activations.values()} == {len(predicted)} == {30}
        assert all(np.isfinite(rows).all() for rows in activations.values())


def test_the_file_and_the_figures_lie_side_by_side(tmp_path: Path, adapted: ActivationSets) -> None:
    adapted.save(tmp_path / "new" / "rows.npz")
    with np.load(tmp_path / "new" / "rows.npz") as saved:
        assert set(saved) == set(adapted.arrays)
        assert all(np.array_equal(saved[name], rows) for name, rows in adapted.arrays.items())
    figures = orjson.loads((tmp_path / "new" / "rows.json").read_bytes())
    assert figures == {
        name: {"success": own.success, "eps": 0.03, "rows": 30}
        for name, own in adapted.attacks.items()
    }


@pytest.mark.parametrize(
    ("name", "figures"),
    [("signs.npz", "signs.json"), ("signs", "signs.json"), ("signs.json", "signs.json.json")],
)
def test_figures_never_replace_the_file(name: str, figures: str) -> None:
    assert figures_file(Path("folder") / name) == Path("folder") / figures


@pytest.mark.parametrize(
    ("method", "eps", "name"),
    [
        ("pgd", 0.03, "pgd_eps03"),
        ("fgsm", 0.015, "fgsm_eps015"),
        ("pgd_targeted", 0.1, "pgd_targeted_eps1"),
    ],
)
def test_attacks_are_named_after_their_eps(method: str, eps: float, name: str) -> None:
    assert attack_name(method, eps) == name


def test_files_keep_the_name_they_are_given(tmp_path: Path) -> None:
    save_arrays(tmp_path / "new" / "rows", {"a.b": np.arange(3)})
    with np.load(tmp_path / "new" / "rows") as saved:
        assert saved["a.b"].tolist() == [0, 1, 2]


def test_drift_sets_show_the_same_drawings(sets: ActivationSets) -> None:
    """The mildest of each kind hardly move what the early layer says of a drawing."""
    early = [torch.from_numpy(sets.arrays[f"drift_{kind}_1.layer1"]).float() for kind in STRENGTHS]
    between = torch.cdist(early[0], early[1]).argmin(dim=1)
    assert (between == torch.arange(30)).double().mean() > 0.8
