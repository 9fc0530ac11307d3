"""Small logits and labels, and every registered loss with the arguments that it cannot do without."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segwright.contracts import IGNORE
from segwright.losses import LOSSES, SegmentationLoss

K = 5
ARGS: dict[str, dict[str, Any]] = {
    "combined": {"losses": [{"name": "cross_entropy", "weight": 0.6}, {"name": "dice", "weight": 0.4, "args": {}}]}
}


def build(name: str, **args: Any) -> SegmentationLoss:
    return LOSSES[name](K, **ARGS.get(name, {}) | args)


def example(
    seed: int = 0, *, ignored: float = 0.2, size: tuple[int, int] = (13, 11), batch: int = 2, dtype: Any = torch.float32
) -> tuple[Tensor, Tensor]:
    """Logits that want a gradient, and labels with about the wanted share of IGNORE."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, K, *size, generator=generator, dtype=dtype).requires_grad_()
    labels = torch.randint(0, K, (batch, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = IGNORE
    return logits, labels


def blobs(seed: int = 0, *, size: tuple[int, int] = (24, 20), batch: int = 2) -> Tensor:
    """Labels in rectangles, as real masks have: int64 [B, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(batch, *size, dtype=torch.int64)
    for picture in labels:
        for label in range(1, K):
            top, left = (int(torch.randint(0, side - 6, (), generator=generator)) for side in size)
            picture[top : top + 6, left : left + 7] = label
    return labels


def multilabel(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and bool [B, K, H, W] truth in which a pixel may have several classes."""
    logits, _ = example(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    return logits, torch.rand(logits.shape, generator=generator) < 0.3


def one_hot(labels: Tensor) -> Tensor:
    """Float [B, K, H, W], 0 where IGNORE."""
    return torch.stack([(labels == k).double() for k in range(K)], 1)
