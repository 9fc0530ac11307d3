"""Test-time augmentation: the mean over views as a loop by hand makes it, for every kind of model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.contracts import UserError
from segwright.inference.ensemble import Ensemble
from segwright.inference.tta import Augmented, Views, parse_views, with_views
from segwright.models.segmenter import Segmenter
from tests.export.models import small_model


def picture(height: int = 53, width: int = 70) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)


def by_hand(model: Segmenter, image: Tensor, scales: tuple[float, ...], flip: bool) -> Tensor:
    """The mean of probabilities, view by view: float [B, K, H, W]."""
    found = []
    for scale in scales:
        height, width = (round(side * scale) for side in image.shape[-2:])
        small = F.interpolate(
            image.float(), size=(height, width), mode="bilinear", align_corners=False, antialias=scale < 1
        )
        seen = small.round().clamp(0, 255).byte()
        views = [model(seen).softmax(1)]
        if flip:
            views.append(model(seen.flip(-1)).softmax(1).flip(-1))
        found += [F.interpolate(v, size=image.shape[-2:], mode="bilinear", align_corners=False) for v in views]
    return torch.stack(found).mean(0)


@pytest.mark.parametrize(
    ("flip", "scales"), [(True, (1.0,)), (False, (0.75, 1.0, 1.25)), (True, (0.5, 1.5)), (False, (1.0,))]
)
@torch.no_grad()
def test_probabilities_are_the_mean_of_the_views(flip: bool, scales: tuple[float, ...]) -> None:
    model, image = small_model(), picture()
    expected = by_hand(model, image, scales, flip)
    augmented = Augmented(model, Views(flip, scales))
    torch.testing.assert_close(augmented(image).softmax(1), expected, atol=1e-6, rtol=1e-4)
    assert (augmented.ids(image) == expected.argmax(1)).float().mean() >= 0.9999
    among = torch.tensor([1, 2])
    assert (augmented.ids(image, [1, 2]) == among[expected[:, among].argmax(1)]).float().mean() >= 0.9999


@torch.no_grad()
def test_mirrored_pictures_give_mirrored_answers() -> None:
    model, image = Augmented(small_model(), Views(flip=True)), picture(48, 64)
    torch.testing.assert_close(model(image).flip(-1), model(image.flip(-1)), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_scales_are_of_the_size_that_the_network_sees() -> None:
    model, image = small_model(short_side=32), picture(60, 90)
    found = Augmented(model, Views(scales=(0.5, 2.0)))(image).softmax(1)
    views = []
    for side in (16, 64):
        model.short_side = None
        size = (side, side * 48 // 32)
        shrinks = size[0] < 60
        small = F.interpolate(image.float(), size=size, mode="bilinear", align_corners=False, antialias=shrinks)
        views.append(F.interpolate(model(small.round().byte()).softmax(1), size=(60, 90), mode="bilinear"))
    torch.testing.assert_close(found, torch.stack(views).mean(0), atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_an_ensemble_is_the_mean_over_members_and_views() -> None:
    one, other, image = small_model(), small_model(short_side=32), picture()
    together = with_views(Ensemble([one, other]), Views(flip=True))
    expected = (by_hand(one, image, (1.0,), True) + by_hand(other, image, (1.0,), True)) / 2
    torch.testing.assert_close(together(image).softmax(1), expected, atol=1e-6, rtol=1e-4)
    assert together.provenance["tta"] == "flip"


def test_views_in_words() -> None:
    assert parse_views("flip") == Views(True)
    assert parse_views("scales=0.75:1:1.25,flip") == Views(True, (0.75, 1.0, 1.25))
    assert str(Views(True, (0.75, 1.0))) == "flip,scales=0.75:1"
    assert Views(True, (0.75, 1.0)).count == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", "'flop' is unknown. Allowed are flip, scales="),
        ("", "'' is unknown"),
        ("flip=1", "'flip=1' is unknown"),
        ("scales=", "'scales=' is unknown"),
        ("scales=a:b", "are no numbers"),
        ("scales=0.1", "scale 0.1 is outside of 0.25 to 4"),
        ("scales=nan", "outside"),
        ("scales=1:1", "allowed are 1 to 8 different ones"),
    ],
)
def test_wrong_views_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_views(text)


def test_views_are_not_trained() -> None:
    with pytest.raises(UserError, match="cannot be trained"):
        Augmented(small_model(), Views(flip=True)).outputs(picture(64, 64))
