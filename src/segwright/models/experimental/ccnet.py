"""CCNet: each position attends to its row and column; done twice, that reaches every position.

Source: Huang et al., "CCNet: Criss-Cross Attention for Semantic Segmentation", ICCV 2019 (arXiv 1811.11721). Memory
grows with h·w·(h + w), not (h·w)². Chosen here, as in mmsegmentation: products are not scaled, the attention starts
with weight 0, a position counts itself once, the classifier also reads the backbone's features. The
category-consistent loss of the journal version is left out. torchvision's ResNets are used, as for PSPNet.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes, D channels of keys, i a row, j a column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs
from segwright.models.backbones import Backbone
from segwright.models.blocks import auxiliary_head, check_arguments, conv_bn_relu
from segwright.models.card import Entry, ModelCard


class CCNet(nn.Module):
    """Dilated backbone, criss-cross attention in a loop, classifier; all at the output stride.

    backbone: any timm model that takes an output stride: resnet50, resnet101, resnet50c, ...
    output_stride: 8, 16 or 32; each step costs less and is coarser.
    channels: of the attention and before the classifier; keys have an eighth of them.
    recurrence: how often the attention is applied, with the same weights; 2 reach every position.
    dropout: share of channels left out before the classifier in training.
    auxiliary: in training, a further classifier on the features before the last ones.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, h, w] at that
    stride.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        output_stride: int = 8,
        channels: int = 512,
        recurrence: int = 2,
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("ccnet", dropout=dropout, channels=channels, recurrence=recurrence)
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.recurrence = recurrence
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=2, weights=backbone_weights)
        inner, deep = self.backbone.channels
        self.reduce = conv_bn_relu(deep, channels)
        self.attention = CrissCross(channels, max(1, channels // 8))
        self.refine = conv_bn_relu(channels, channels)
        self.fuse = conv_bn_relu(deep + channels, channels).append(nn.Dropout2d(dropout))
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = auxiliary_head(inner, num_classes, dropout=dropout) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        inner, deep = self.backbone(image_BCHW)
        context = self.reduce(deep)
        for _ in range(self.recurrence):
            context = self.attention(context)
        logits = self.classify(self.fuse(torch.cat([deep, self.refine(context)], dim=1)))
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(inner),))


class CrissCross(nn.Module):
    """Each position plus what it sees in its row and column, weighed by likeness. float [B, C, h, w] in and out."""

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, keys, 1)
        self.key = nn.Conv2d(channels, keys, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x_BChw: Tensor) -> Tensor:
        height, width = x_BChw.shape[-2:]
        query_BDhw, key_BDhw, value_BChw = self.query(x_BChw), self.key(x_BChw), self.value(x_BChw)
        column_Bwhi = query_BDhw.permute(0, 3, 2, 1) @ key_BDhw.permute(0, 3, 1, 2)
        line = torch.arange(height, device=x_BChw.device)
        column_Bwhi = column_Bwhi.masked_fill(line == line.unsqueeze(1), float("-inf"))  # the row has it
        row_Bhwj = query_BDhw.permute(0, 2, 3, 1) @ key_BDhw.permute(0, 2, 1, 3)
        share = torch.cat([column_Bwhi.transpose(1, 2), row_Bhwj], dim=3).softmax(dim=3)
        share_Bhwi, share_Bhwj = share.split([height, width], dim=3)
        in_column_BwhC = share_Bhwi.transpose(1, 2) @ value_BChw.permute(0, 3, 2, 1)
        in_row_BhwC = share_Bhwj @ value_BChw.permute(0, 2, 3, 1)
        seen_BhwC = in_column_BwhC.transpose(1, 2) + in_row_BhwC
        sum_BChw: Tensor = x_BChw + self.weight * seen_BhwC.movedim(3, 1)
        return sum_BChw


ENTRIES = {
    "ccnet": Entry(
        CCNet,
        ModelCard(
            description="Attention along rows and columns, twice: all positions, little memory",
            paper="Huang et al., ICCV 2019, arXiv 1811.11721",
            licence="MIT",
            published=("Cityscapes test 81.4 (R101, paper)", "Cityscapes val 79.0 (R50, mmsegmentation)"),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
