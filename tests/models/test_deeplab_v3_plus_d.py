"""DeepLabV3+ from scratch: its encoder against torchvision's ResNet-34, its parameters and initialisation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet34

from segwright.contracts import UserError
from segwright.models.deeplab_v3_plus_d import DeepLabV3PlusD
from tests.models.conftest import with_real_statistics


@torch.no_grad()
def test_the_encoder_is_a_dilated_resnet_34() -> None:
    net, public = DeepLabV3PlusD(3), resnet34(weights=None)
    image = torch.randn(1, 3, 64, 96)
    for layer, rate in ((public.layer3, 2), (public.layer4, 4)):
        for part in layer.modules():
            if isinstance(part, nn.Conv2d):
                part.stride = (1, 1)
                if part.kernel_size == (3, 3):
                    part.dilation = part.padding = (rate, rate)
    with_real_statistics(public, image)
    ours = nn.Sequential(net.stem, *net.stages).eval()
    state = [t for n, t in public.state_dict().items() if not n.startswith("fc.")]
    ours.load_state_dict(dict(zip(ours.state_dict(), state, strict=True)))
    expected = nn.Sequential(*list(public.children())[:-2])(image)
    found = ours(image)
    assert found.shape == (1, 512, 8, 12)
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_parameters_follow_from_the_description() -> None:
    """No public count: ResNet-34 without its classifier (torchvision), then the layers as they are described."""
    with torch.device("meta"):
        net, public = DeepLabV3PlusD(19), resnet34(weights=None)
    encoder = sum(p.numel() for n, p in public.named_parameters() if not n.startswith("fc."))
    aspp = (2 * 1 + 3 * 9) * 512 * 256 + 5 * 512 + 5 * 256 * 256 + 512
    decoder = 64 * 48 + 96 + 9 * (256 + 48) * 256 + 512 + 9 * 256 * 256 + 512 + 256 * 19 + 19
    assert sum(p.numel() for p in net.parameters()) == encoder + aspp + decoder == 26_715_827


def test_it_starts_by_kaimings_rule() -> None:
    net = DeepLabV3PlusD(19, width=16)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.weight.eq(1).all()
            assert part.bias.eq(0).all()
        elif isinstance(part, nn.Conv2d) and part is not net.classify and part.weight.numel() > 3000:
            area = part.kernel_size[0] * part.kernel_size[1]
            assert part.weight.std().item() == pytest.approx(math.sqrt(2 / (part.out_channels * area)), rel=0.06)
    labels = torch.randint(0, 19, (2, 16, 24))
    logits = net.train()(torch.randn(2, 3, 64, 96)).logits_BKhw
    assert logits.shape == (2, 19, 16, 24)
    assert F.cross_entropy(logits, labels).item() == pytest.approx(math.log(19), rel=0.5)


@pytest.mark.parametrize("args", [{"width": 2}, {"dropout": 1.0}])
def test_impossible_arguments_are_refused(args: dict[str, float]) -> None:
    with pytest.raises(UserError, match="deeplab_v3_plus_d: .* allowed are"):
        DeepLabV3PlusD(2, **args)  # type: ignore[arg-type]
