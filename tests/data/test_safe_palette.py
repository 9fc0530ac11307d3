"""The safe palette: how far its colours lie apart for every kind of colour vision, and its stripes beyond eight classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import IGNORE, UserError
from segwright.data.colors import OKABE_ITO
from segwright.data.safe_palette import PLAIN, safe_colors, safe_picture, safe_space, stripe_color, stripes
from segwright.inference.drawing import overlay, palette_picture, with_legend
from segwright.inference.outputs import Output
from segwright.labels import LabelSpace, load_label_space

# Machado, Oliveira, Fernandes 2009, severity 1, on linear sRGB
MACHADO = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def lab(colors: object, eyes: str) -> NDArray[np.float64]:
    """CIELAB (D65) of sRGB colours as these eyes see them."""
    level = np.array(colors) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    seen = (linear @ MACHADO[eyes].T).clip(0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = seen @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def least_difference(colors: object, eyes: str) -> float:
    """Smallest CIE76 colour difference between any two of them."""
    seen = lab(colors, eyes)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return float(apart[~np.eye(len(seen), dtype=bool)].min())


@pytest.mark.parametrize(
    ("count", "normal", "protan", "deutan"),
    [*((n, 26, 20, 16.9) for n in range(2, 9)), (11, 26, 20, 16.9), (19, 20, 16, 12.7)],
)
def test_classes_stay_apart_for_every_kind_of_colour_vision(
    count: int, normal: float, protan: float, deutan: float
) -> None:
    colors = safe_colors(count)
    for eyes, least in (("normal", normal), ("protan", protan), ("deutan", deutan)):
        assert least_difference(colors, eyes) >= least


def test_official_palettes_are_the_reason_for_another_one() -> None:
    for name in ("camvid11", "cityscapes19"):
        colors = [c.color for c in load_label_space(name).classes]
        assert least_difference(colors, "deutan") < 7


def test_the_first_eight_are_those_of_okabe_and_ito_and_all_differ() -> None:
    assert safe_colors(8) == (*OKABE_ITO, (0, 0, 0))
    assert all(safe_colors(n) == safe_colors(250)[:n] for n in (1, 3, 19))
    assert len(set(safe_colors(250))) == 250


def test_beyond_eight_each_class_has_a_pattern_and_no_pair_shares_colour_and_pattern() -> None:
    patches = [stripes(np.full((64, 64), k, np.uint8)) for k in range(40)]
    assert not any(patch.any() for patch in patches[:PLAIN])
    assert all(0.2 < patch.mean() < 0.5 for patch in patches[PLAIN:])
    bands = [patches[k].tobytes() for k in range(PLAIN, 40, PLAIN)]
    assert len(set(bands)) == len(bands)
    assert not stripes(np.full((9, 9), IGNORE, np.uint8)).any()


def test_a_picture_holds_the_colour_and_its_stripe_alone() -> None:
    labels = load_label_space("cityscapes19")
    ids = np.repeat(np.arange(19, dtype=np.uint8), 40)[None].repeat(40, 0)
    rgb = safe_picture(ids, labels)
    for k, color in enumerate(safe_colors(19)):
        found = {tuple(v) for v in rgb[ids == k].tolist()}
        assert found == ({color} if k < PLAIN else {color, stripe_color(color)})
    ids[:] = IGNORE
    assert not safe_picture(ids, labels).any()


def test_predictions_can_be_drawn_in_it(tmp_path: Path) -> None:
    labels = load_label_space("cityscapes19")
    ids = np.repeat(np.arange(19, dtype=np.uint8), 20)[None].repeat(60, 0)
    palette_picture(ids, labels, safe=True).save(tmp_path / "color.png")
    with Image.open(tmp_path / "color.png") as again:
        np.testing.assert_array_equal(np.asarray(again), ids)
        np.testing.assert_array_equal(np.asarray(again.convert("RGB")), safe_space(labels).colorize(ids))
    grey = np.full((*ids.shape, 3), 128, np.uint8)
    np.testing.assert_array_equal(overlay(grey, ids, labels, opacity=1, safe=True), safe_picture(ids, labels))
    legend = with_legend(grey, {"bicycle": 0.4}, labels, safe=True)[60:].reshape(-1, 3).tolist()
    color = safe_colors(19)[18]
    assert list(color) in legend
    assert list(stripe_color(color)) in legend
    with pytest.raises(UserError, match="palette is 'blue'; allowed are official, safe"):
        Output(palette="blue")


def test_everything_but_the_colours_stays() -> None:
    labels = load_label_space("camvid11")
    changed = safe_space(labels)
    assert isinstance(changed, LabelSpace)
    assert changed.class_names == labels.class_names
    assert [c.values for c in changed.classes] == [c.values for c in labels.classes]
