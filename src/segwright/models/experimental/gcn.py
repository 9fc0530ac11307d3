"""GCN: kernels as large as the features, made of rows and columns, score the classes at every stage of a backbone.

Source: Peng et al., "Large Kernel Matters: Improve Semantic Segmentation by Global Convolutional Network", CVPR 2017
(arXiv 1703.02719). At each stage a k×k kernel, as k×1 then 1×k plus 1×k then k×1 without a nonlinearity between, gives
one channel a class; boundary refinement is a residual 3×3, ReLU, 3×3; transposed convolutions double the size and
finer scores are added, up to the picture's own size. Chosen here: the paper's kernel of 15 (some re-writes: 7);
transposed 4×4 kernels of each class by itself that start as bilinear (the paper says "deconvolution"; re-writes
resize); biases throughout, as nothing is normalised. The paper's backbones are ResNet-152 (`backbone: resnet152`) and
a ResNet made of such kernels, which is not rebuilt.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_strides
from segwright.models.card import Entry, ModelCard


class GCN(nn.Module):
    """Backbone, global convolution and boundary refinement at four stages, transposed convolutions to full size.

    backbone: any timm model with features at strides 4 to 32: resnet50, resnet152, ...
    output_stride: 32 as in the paper, 16 or 8: of the backbone's last stages.
    kernel: side of the large kernels, odd.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, H, W].
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        output_stride: int = 32,
        kernel: int = 15,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"gcn: kernel is {kernel}; allowed are odd numbers from 1, such as 15.")
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, weights=backbone_weights)
        check_strides("gcn", backbone, self.backbone.strides, [min(s, output_stride) for s in (4, 8, 16, 32)])
        self.score = nn.ModuleList(
            nn.Sequential(GlobalConvolution(channels, num_classes, kernel), BoundaryRefinement(num_classes))
            for channels in reversed(self.backbone.channels)
        )
        coarse_to_fine = self.backbone.strides[::-1]
        self.up = nn.ModuleList(
            double(num_classes) if coarse > fine else nn.Identity() for coarse, fine in pairwise(coarse_to_fine)
        )
        self.refine = nn.ModuleList(BoundaryRefinement(num_classes) for _ in self.up)
        self.finish = nn.Sequential()
        for _ in range(self.backbone.strides[0].bit_length() - 1):
            self.finish.extend([double(num_classes), BoundaryRefinement(num_classes)])

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features = self.backbone(image_BCHW)[::-1]
        scores, *finer = (score(x) for score, x in zip(self.score, features, strict=True))
        for up, refine, added in zip(self.up, self.refine, finer, strict=True):
            scores = refine(up(scores) + added)
        return Outputs(self.finish(scores))


class GlobalConvolution(nn.Module):
    """A k×k kernel of low rank: k×1 then 1×k, plus 1×k then k×1. float [B, C, h, w] -> [B, out, h, w]."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        tall, wide = ((kernel, 1), (kernel // 2, 0)), ((1, kernel), (0, kernel // 2))
        self.tall_first, self.wide_first = (
            nn.Sequential(
                nn.Conv2d(channels, out, first[0], padding=first[1]), nn.Conv2d(out, out, then[0], padding=then[1])
            )
            for first, then in ((tall, wide), (wide, tall))
        )

    def forward(self, x_BChw: Tensor) -> Tensor:
        total: Tensor = self.tall_first(x_BChw) + self.wide_first(x_BChw)
        return total


class BoundaryRefinement(nn.Module):
    """Scores plus a 3×3, ReLU, 3×3 of them. float [B, K, h, w] in and out."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(classes, classes, 3, padding=1)
        self.second = nn.Conv2d(classes, classes, 3, padding=1)

    def forward(self, scores_BKhw: Tensor) -> Tensor:
        refined: Tensor = self.second(F.relu(self.first(scores_BKhw), inplace=True))
        return scores_BKhw + refined


def double(classes: int) -> nn.ConvTranspose2d:
    """Transposed 4×4 of stride 2, of each class by itself, that starts as bilinear resizing."""
    up = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1, groups=classes, bias=False)
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        up.weight.copy_(torch.outer(line, line))
    return up


ENTRIES = {
    "gcn": Entry(
        GCN,
        ModelCard(
            description="Very large kernels of rows and columns at every stage",
            paper="Peng et al., CVPR 2017, arXiv 1703.02719",
            licence="MIT",
            published=("Cityscapes test 76.9 (paper)", "VOC 2012 test 82.2 (paper)"),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
