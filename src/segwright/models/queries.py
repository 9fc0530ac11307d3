"""From the queries of a mask-classification decoder to class scores of pixels.

Letters: B batch, Q queries, K classes, h w reduced sizes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from segwright.contracts import Queries

LEAST = 1e-30
"""A class that no query claims has this much of a pixel, so that its logarithm is a number."""


def class_scores(queries: Queries) -> Tensor:
    """The logarithm of Σ_q p_q(class) · sigmoid(mask_q): float [B, K, h, w], at least float32.

    The sum is the semantic inference of MaskFormer (Cheng et al. 2021, arXiv 2107.06278), section 3.4; "no object" has
    no part in it. Its logarithm has the same best class, and a softmax of it gives every class its share of the sum,
    which is what probabilities, calibration and losses of per-pixel scores expect.
    """
    kind = torch.promote_types(queries.mask_BQhw.dtype, torch.float32)
    with exactly(queries.mask_BQhw):
        class_BQK = queries.class_BQK1.to(kind).softmax(-1)[..., :-1]
        share_BKhw = torch.einsum("bqk,bqhw->bkhw", class_BQK, queries.mask_BQhw.to(kind).sigmoid())
    return share_BKhw.clamp_min(LEAST).log()


def exactly(tensor: Tensor) -> AbstractContextManager[object]:
    """Inside it nothing is done in lower precision than its tensors have. tensor: names the device."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
