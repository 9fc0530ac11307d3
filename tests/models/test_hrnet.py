"""HRNetV2 and OCR: published counts, and attention to regions against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segwright.contracts import UserError
from segwright.models.hrnet import HRNet, HRNetOCR, ObjectContext


def count(net: type[HRNet] | type[HRNetOCR], num_classes: int, backbone: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in net(num_classes, backbone=backbone).parameters())


def test_w48_has_the_published_count() -> None:
    """65,859,379 by the authors' code; there the 1×1 over 720 channels has a bias before its BatchNorm."""
    assert count(HRNet, 19, "hrnet_w48") == 65_859_379 - 720


def test_w48_with_ocr_has_the_published_count() -> None:
    """70.5 M for the 150 classes of ADE20K: table of Xie et al., "SegFormer", NeurIPS 2021."""
    assert round(count(HRNetOCR, 150, "hrnet_w48") / 1e6, 1) == 70.5


@pytest.mark.parametrize("net", [HRNet, HRNetOCR])
def test_logits_come_at_a_quarter(net: type[HRNet] | type[HRNetOCR]) -> None:
    with torch.device("meta"):
        outputs = net(19, backbone="hrnet_w18")(torch.empty(2, 3, 64, 128))
    assert outputs.logits_BKhw.shape == (2, 19, 16, 32)
    assert [x.shape for x in outputs.auxiliary] == ([(2, 19, 16, 32)] if net is HRNetOCR else [])


@torch.no_grad()
def test_context_is_attention_from_pixels_to_the_means_of_regions() -> None:
    context = ObjectContext(6, 4).eval()
    pixels, logits = torch.randn(2, 6, 5, 7), torch.randn(2, 3, 5, 7)
    means = torch.stack(
        [(pixels * logits[:, k : k + 1].flatten(2).softmax(2).view(2, 1, 5, 7)).sum((2, 3)) for k in range(3)], dim=2
    ).unsqueeze(3)
    query, key, value = context.query(pixels), context.key(means), context.value(means)
    seen = F.scaled_dot_product_attention(*(x.flatten(2).mT for x in (query, key, value))).mT.reshape(2, 4, 5, 7)
    assert torch.allclose(context(pixels, logits), context.widen(seen), atol=1e-6)


@pytest.mark.parametrize("net", [HRNet, HRNetOCR])
def test_other_backbones_are_refused(net: type[HRNet] | type[HRNetOCR]) -> None:
    with pytest.raises(UserError, match="backbone is 'resnet50'; it takes an HRNet: hrnet_w18"):
        net(3, backbone="resnet50")
