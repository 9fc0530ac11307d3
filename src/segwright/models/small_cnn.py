"""A small CNN without anything special: what to try first on small pictures, such as PASCAL VOC at 64×64.

Source: none; the first exercise of many courses. Three levels of two (3×3 convolution, BatchNorm, ReLU), the last
dilated, so that a score at 64×64 pixels sees 48 pixels each way, and a 1×1 classifier.

Letters: B batch, C colour, H W pixels, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import conv_bn_relu
from segwright.models.card import Entry, ModelCard


class SmallCNN(nn.Module):
    """Six convolutions, two max-poolings, a classifier.

    width: channels of the first level; the others have 2 and 4 times as many.
    dropout: share of values left out before the classifier in training.
    Input: float [B, 3, H, W], normalised, H and W multiples of 4. Output: logits [B, K, H/4, W/4].
    """

    def __init__(self, num_classes: int, *, width: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        if width < 1 or not 0 <= dropout < 1:
            raise UserError(
                f"small_cnn: width is {width} and dropout {dropout}; allowed are a width of 1 or more and a dropout "
                "from 0 to below 1."
            )
        self.stride = 4
        self.unused: tuple[str, ...] = ()
        self.layers = nn.Sequential(
            *conv_bn_relu(3, width),
            *conv_bn_relu(width, width),
            nn.MaxPool2d(2),
            *conv_bn_relu(width, 2 * width),
            *conv_bn_relu(2 * width, 2 * width),
            nn.MaxPool2d(2),
            *conv_bn_relu(2 * width, 4 * width, dilation=2),
            *conv_bn_relu(4 * width, 4 * width, dilation=2),
            nn.Dropout(dropout),
        )
        self.classify = nn.Conv2d(4 * width, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        return Outputs(self.classify(self.layers(image_BCHW)))


ENTRIES = {
    "small_cnn": Entry(
        SmallCNN,
        ModelCard(
            description="Six plain convolutions: the first try on small pictures",
            paper="none",
            licence="MIT",
        ),
    )
}
