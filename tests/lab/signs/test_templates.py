import numpy as np

from latentwatch.lab.signs.templates import CLASS_NAMES, draw_templates

SIZE = 48


def test_there_are_at_least_twelve_classes_with_the_promised_ones_among_them() -> None:
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) >= 12
    assert {"80 km/h limit", "stop", "yield"} <= set(CLASS_NAMES)


def test_templates_are_transparent_around_the_sign_and_opaque_in_it() -> None:
    alpha = draw_templates(SIZE)[:, 3]
    assert np.all(alpha[:, 0, 0] == 0)
    assert np.all(alpha[:, SIZE // 2, SIZE // 2] == 1)


def test_colours_are_premultiplied_by_alpha() -> None:
    pictures = draw_templates(SIZE)
    assert np.all(pictures[:, :3] <= pictures[:, 3:] + 1e-6)


def test_no_two_signs_look_alike() -> None:
    flat = draw_templates(32).reshape(len(CLASS_NAMES), -1)
    distances = np.abs(flat[:, None] - flat[None]).mean(axis=2)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 0.004


def test_keep_left_mirrors_keep_right() -> None:
    pictures = dict(zip(CLASS_NAMES, draw_templates(SIZE), strict=True))
    mirrored = pictures["keep right"][:, :, ::-1]
    assert np.abs(mirrored - pictures["keep left"]).mean() < 0.01
