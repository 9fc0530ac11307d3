"""Hierarchical multi-scale attention: HRNet-OCR sees the picture at several scales and learns which one to trust where.

Source: Tao, Sapra, Catanzaro, "Hierarchical Multi-Scale Attention for Semantic Segmentation", 2020 (arXiv
2005.10821), in the form of the authors' HRNet-OCR code: two 3×3 of 256 channels and a 1×1 on the OCR features give one
weight a pixel. Training sees the scales 0.5 and 1; prediction any. From the largest scale to the smallest, what a scale
says counts with its weight, and what the larger ones said together with the rest.

Chosen here: scores are joined at a quarter of the picture's size (theirs: at its full size); the sides of a scaled
picture are rounded up to multiples of 32, which HRNet needs; scales 0.5 and 1 unless asked otherwise, because a scale
of 2 (which they add) costs four times the memory; HRNet-OCR is that of `hrnet_ocr`.

Letters: B batch, C channels, H W pixels, K classes, h w = H/4 W/4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import check_arguments, conv_bn_relu, to_size_of
from segwright.models.card import Entry, ModelCard
from segwright.models.hrnet import HRNetOCR

TRAINED_SCALES = (1.0, 0.5)
STEPS = 4
"""Scales are multiples of 1/STEPS."""


class View(NamedTuple):
    """What the net says at one scale: both classifiers' logits [B, K, h, w], and how far to trust them [B, 1, h, w]."""

    logits: Tensor
    first: Tensor
    trust: Tensor


class HMSA(nn.Module):
    """HRNet-OCR with an attention head, joined over scales.

    backbone: hrnet_w48, hrnet_w32, hrnet_w18, hrnet_w18_small_v2, hrnet_w18_small, ... of timm.
    scales: at which prediction sees the picture: multiples of 0.25 up to 4, among them 1. Training: 0.5 and 1.
    channels: of the OCR head. keys: in which its pixels and regions are compared. attention: of the weights' head.
    dropout: share of channels left out before the classifier in training.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/4, W/4]; in training also
    those of the first classifier, joined in the same way.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "hrnet_w48",
        scales: tuple[float, ...] = (0.5, 1.0),
        channels: int = 512,
        keys: int = 256,
        attention: int = 256,
        dropout: float = 0.05,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("hmsa", dropout=dropout, channels=channels, keys=keys, attention=attention)
        if 1 not in scales or any(not 0 < s <= 4 or s * STEPS % 1 for s in scales) or len(set(scales)) < len(scales):
            raise UserError(
                f"hmsa: scales is {list(scales)}; allowed are different multiples of 0.25 from 0.25 to 4, among them "
                "1, such as [0.5, 1, 2]."
            )
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.scales = tuple(sorted(scales, reverse=True))
        self.net = HRNetOCR(
            num_classes,
            backbone=backbone,
            channels=channels,
            keys=keys,
            dropout=dropout,
            backbone_weights=backbone_weights,
        )
        self.trust = nn.Sequential(
            *conv_bn_relu(channels, attention),
            *conv_bn_relu(attention, attention),
            nn.Conv2d(attention, 1, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, image_BCHW: Tensor) -> Outputs:
        scales = TRAINED_SCALES if self.training else self.scales
        largest, *smaller = (self._view(image_BCHW, scale) for scale in scales)
        logits, first = largest.logits, largest.first
        for view, scale in zip(smaller, scales[1:], strict=True):
            logits = _join(logits, view.logits, view.trust, grows=scale < 1)
            if self.training:
                first = _join(first, view.first, view.trust, grows=scale < 1)
        return Outputs(logits, (first,) if self.training else ())

    def _view(self, image_BCHW: Tensor, scale: float) -> View:
        features, first = self.net.in_context(_scaled(image_BCHW, scale))
        return View(self.net.classify(features), first, self.trust(features))


def _join(known_BKhw: Tensor, said_BKhw: Tensor, trust_B1hw: Tensor, *, grows: bool) -> Tensor:
    """What a scale says, as far as it is trusted, and for the rest what is known from larger scales.

    grows: the scale is below 1: its part is brought to the size of what is known; else what is known to its size.
    """
    part = trust_B1hw * said_BKhw
    if grows:
        return to_size_of(part, known_BKhw) + (1 - to_size_of(trust_B1hw, known_BKhw)) * known_BKhw
    return part + (1 - trust_B1hw) * to_size_of(known_BKhw, said_BKhw)


def _scaled(image_BCHW: Tensor, scale: float) -> Tensor:
    """Resized bilinearly; sides rounded up to multiples of 32."""
    if scale == 1:
        return image_BCHW
    steps, multiple = int(scale * STEPS), 32
    size = [-(-side * steps // (STEPS * multiple)) * multiple for side in image_BCHW.shape[-2:]]
    return F.interpolate(image_BCHW, size=size, mode="bilinear", align_corners=False)


ENTRIES = {
    "hmsa": Entry(
        HMSA,
        ModelCard(
            description="HRNet-OCR at several scales, with a learnt choice between them",
            paper="Tao et al., 2020, arXiv 2005.10821",
            licence="MIT",
            published=("Cityscapes test 85.1 (W48, Mapillary and automatic coarse labels too, paper)",),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
