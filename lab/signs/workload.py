"""The requests of the demo: a picture for each in a plan, attacked where the plan says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import Progress
from torch import Tensor

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.chaos.traffic.sets import save_arrays
from latentwatch.lab.signs.attack import Attacked, AttackSettings, Recognised, attack, recognised
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.network import SignNetwork, classify
from latentwatch.lab.signs.pictures import as_bytes
from latentwatch.lab.signs.templates import CLASS_NAMES
from latentwatch.lab.signs.traffic import TrafficPlan


@dataclass(frozen=True)
class Requests:
    """What each request of a plan carries; row ``i`` belongs to request ``i``.

    Parameters
    ----------
    plan
        When the requests come and which are adversarial.
    images
        float32 [N, 3, 32, 32].
    labels
        int64 [N], what is on them.
    ids
        Request ids.
    input_refs
        ``signs:<seed>/<index>``: the drawing that the picture is, or was before it was attacked.
        ``draw_signs(1, seed=<seed>, first=<index>)`` draws it again.
    """

    plan: TrafficPlan
    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    input_refs: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.plan)


@dataclass(frozen=True)
class AttackedRequests:
    """The adversarial requests before and after the attack.

    Parameters
    ----------
    rows
        int64 [M], their places among all requests.
    clean
        The pictures before, all of them recognised by the network.
    attacked
        The pictures after.
    """

    rows: npt.NDArray[np.int64]
    clean: Recognised
    attacked: Attacked


def make_requests(
    model: SignNetwork,
    plan: TrafficPlan,
    settings: AttackSettings,
    *,
    seed: int,
    progress: Progress,
) -> tuple[Requests, AttackedRequests]:
    """Draw the pictures of all requests and attack those that the plan says are adversarial.

    Parameters
    ----------
    model
        The network that the requests go to; the attacker knows it.
    plan
        When the requests come and which are adversarial.
    settings
        The attack.
    seed
        Seed of the pictures and of the attack; not the network's training pictures whatever it is.
    progress
        Shows the attack.
    """
    rows = np.flatnonzero(plan.adversarial)
    traffic_seed, target_seed = (derived_seed(seed, name) for name in ("traffic", "attacked"))
    images, labels = draw_signs(len(plan), seed=traffic_seed)
    refs = [f"signs:{traffic_seed}/{index}" for index in range(len(plan))]
    clean = recognised(model, len(rows), seed=target_seed)
    attacked = attack(model, clean.images, clean.labels, settings, seed=seed, progress=progress)
    images[rows], labels[rows] = attacked.images, clean.labels
    for row, index in zip(rows.tolist(), clean.indices.tolist(), strict=True):
        refs[row] = f"signs:{target_seed}/{index}"
    ids = tuple(f"signs-{seed}-{index:06d}" for index in range(len(plan)))
    requests = Requests(plan, images, labels, ids, tuple(refs))
    return requests, AttackedRequests(rows, clean, attacked)


def save_examples(
    file: Path, model: SignNetwork, requests: Requests, examples: AttackedRequests
) -> None:
    """Save the attacked pictures with their originals, for people to look at.

    The npz file holds, for the M adversarial requests in their order: ``request_id`` (str [M]),
    ``clean`` and ``adversarial`` (uint8 [M, 32, 32, 3]), ``label``, ``predicted_clean`` (the same
    as the label) and ``predicted_adversarial`` (int64 [M]); and ``names`` (str [classes]).
    """
    adversarial = examples.attacked.images
    predicted = classify(model, adversarial) if len(adversarial) else examples.clean.labels
    arrays = {
        "request_id": np.array([requests.ids[row] for row in examples.rows], dtype=np.str_),
        "clean": as_bytes(examples.clean.images),
        "adversarial": as_bytes(adversarial),
        "label": examples.clean.labels.numpy(),
        "predicted_clean": examples.clean.labels.numpy(),
        "predicted_adversarial": predicted.numpy(),
        "names": np.array(CLASS_NAMES),
    }
    save_arrays(file, arrays)
