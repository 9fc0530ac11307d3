"""EoMT of transformers for pictures of any size, saying the queries of every masked layer.

Kerssies et al. 2025, "Your ViT is Secretly an Image Segmentation Model" (arXiv 2503.19108). The library's net takes
squares of one size and keeps the queries of inner layers to itself. Here the grid follows the picture, and learned
position embeddings are resampled to it, bicubically, as DINOv2 does: at the size that they were learned for nothing
changes. The DINOv3 form has rotary embeddings, which fit any grid.

In its last blocks a query may look only where its mask is, with a probability a block that the authors lower to 0 while
they train (mask annealing); the net is fast then, because attention without masks is. Here the probabilities are an
argument. In evaluation nothing is random: a block with a probability above 0 masks every query.

Letters: B batch, C channels, H W pixels, N patches, h w patches per column and row.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from segwright.contracts import Queries
from segwright.models.queries import exactly


class Positions(nn.Embedding):
    """Position embeddings of a square grid, resampled to the grid at hand. It has the name and numbers of the library's."""

    grid: tuple[int, int] = (1, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """[1, N, C] for the N patches of `grid`, row by row; `ids` are the library's, for the square."""
        side = math.isqrt(self.num_embeddings)
        square_1Chw = self.weight.view(1, side, side, -1).permute(0, 3, 1, 2)
        with exactly(square_1Chw):
            here_1Chw = F.interpolate(square_1Chw, self.grid, mode="bicubic", align_corners=False)
        return here_1Chw.flatten(2).transpose(1, 2)


def any_size(net: Any) -> Any:
    """A subclass of one of the library's EoMT classes: the same parameters, any size, and what it says.

    After a forward pass in training, `said` holds the queries of every layer that masks, and of the last. `mask` takes
    the probabilities out of the buffers, where the library has them.
    """

    class AnySize(net):
        attn_mask_probs: Any

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.config = copy.copy(config)
            self.config.num_attention_heads = 1  # all heads have the same mask: one copy of it serves them
            self.patch = int(config.patch_size)
            self.said: list[Queries] = []
            self.masking: list[float] | None = None
            learned = getattr(self.embeddings, "position_embeddings", None)
            if learned is not None:
                positions = Positions(learned.num_embeddings, learned.embedding_dim, device=learned.weight.device)
                positions.weight = learned.weight
                self.embeddings.position_embeddings = positions

        def mask(self, probabilities: Sequence[float] | None) -> list[float]:
            """Set, or with None take over, one probability a block; returned."""
            found = self.attn_mask_probs.tolist() if probabilities is None else [float(p) for p in probabilities]
            del self.attn_mask_probs
            self.masking = found
            return found

        def forward(self, pixel_values: Tensor) -> Any:
            if self.masking is not None:
                self.attn_mask_probs = self.masking if self.training else [float(p > 0) for p in self.masking]
            self.grid_size = (pixel_values.shape[2] // self.patch, pixel_values.shape[3] // self.patch)
            if hasattr(self.embeddings, "position_embeddings"):
                self.embeddings.position_embeddings.grid = self.grid_size
            return super().forward(pixel_values)

        def predict(self, logits: Tensor) -> tuple[Tensor, Tensor]:
            mask_BQhw, class_BQK1 = super().predict(logits)
            if self.training:
                self.said.append(Queries(class_BQK1, mask_BQhw))
            return mask_BQhw, class_BQK1

    return AnySize
