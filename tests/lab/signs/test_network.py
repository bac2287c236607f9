import numpy as np
import torch

from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.network import SignNetwork, classify, observe
from latentwatch.lab.signs.templates import CLASS_NAMES


def test_one_early_and_two_deep_layers_are_captured(network: SignNetwork) -> None:
    images, _ = draw_signs(70, seed=1)
    observed = observe(network, images)
    shapes = {name: rows.shape for name, rows in observed.activations.items()}
    assert shapes == {"layer1": (70, 16), "layer3": (70, 64), "layer4": (70, 96)}
    assert all(np.isfinite(rows).all() for rows in observed.activations.values())


def test_the_hook_sees_what_the_classifier_gets(network: SignNetwork) -> None:
    images, _ = draw_signs(64, seed=2)
    observed = observe(network, images)
    with torch.inference_mode():
        logits = network.classifier(torch.from_numpy(observed.activations["layer4"]).float())
        expected = network(images)
    torch.testing.assert_close(logits, expected, atol=0.05, rtol=0.01)  # float16 in between
    assert np.array_equal(observed.predicted, classify(network, images).numpy())


def test_there_is_a_logit_for_every_class(network: SignNetwork) -> None:
    with torch.inference_mode():
        assert network(torch.zeros(3, 3, 32, 32)).shape == (3, len(CLASS_NAMES))
