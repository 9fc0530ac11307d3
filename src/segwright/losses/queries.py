"""The set loss of mask classification: queries and classes are matched one to one, then compared.

Cheng et al. 2022, "Masked-attention Mask Transformer for Universal Image Segmentation" (arXiv 2112.01527), section 3;
matching as in DETR (Carion et al. 2020, arXiv 2005.12872). Two things differ from the public code, which knows no void:
IGNORE pixels count in no mask, and a picture without a labelled pixel counts nowhere.

Letters: B batch, Q queries, K classes, M masks (classes present in a picture), P points, H W pixels, h w reduced sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import IGNORE, Queries, UserError


class Truth(NamedTuple):
    """What one picture holds. class_M: ids, ascending. mask_MHW: bool. known_HW: bool, the pixels that count."""

    class_M: Tensor
    mask_MHW: Tensor
    known_HW: Tensor


class Seen(NamedTuple):
    """Masks of one picture at points or pixels. target_MP: 0..1. known_MP: 1 where the point counts, else 0."""

    target_MP: Tensor
    known_MP: Tensor


@dataclass(frozen=True, kw_only=True)
class SetLoss:
    """class_weight · cross entropy of the classes + mask_weight · binary cross entropy + dice_weight · Dice of the
    masks, summed over the decoder's layers.

    Every class that a picture holds is one mask. It is matched to one query by the least total cost, with the same
    three weights; all other queries should say "no object", which weighs `no_object` in the cross entropy.
    points: masks of more pixels are compared at this many points, drawn anew for every layer: `importance` of them the
    least certain of `oversample` times as many, the rest anywhere. Smaller ones are compared at every pixel.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object: float = 0.1
    points: int = 12544
    oversample: float = 3.0
    importance: float = 0.75

    def __call__(
        self,
        queries: Sequence[Queries],
        labels_BHW: Tensor,
        weights_B: Tensor | None = None,
        membership_LK: Tensor | None = None,
    ) -> Tensor:
        """Float scalar; 0, still differentiable, when every pixel is IGNORE.

        queries: one entry a decoder layer, any precision (computed in float32). labels_BHW: int64, 0..K-1 or IGNORE.
        weights_B: one weight a picture, or None for all ones. membership_LK: where labels from K on stand for sets of
        classes, their pixels count in no mask: which class a mask would be of is not known.
        Raises UserError where SciPy, which matches, is not installed.
        """
        num_classes = queries[-1].class_BQK1.shape[2] - 1
        if membership_LK is not None:
            labels_BHW = labels_BHW.masked_fill(labels_BHW >= num_classes, IGNORE)
        truths = [_truth(labels_HW) for labels_HW in labels_BHW]
        weights_B = torch.ones(len(truths)) if weights_B is None else weights_B.cpu().float()
        weights = [w if len(t.class_M) else 0.0 for w, t in zip(weights_B.tolist(), truths, strict=True)]
        return torch.stack([self._layer(layer, truths, weights) for layer in (queries[-1], *queries[:-1])]).sum()

    def _layer(self, layer: Queries, truths: Sequence[Truth], weights: Sequence[float]) -> Tensor:
        pictures = zip(layer.class_BQK1, layer.mask_BQhw, truths, strict=True)
        matches = [self._match(class_QK1, mask_Qhw, truth) for class_QK1, mask_Qhw, truth in pictures]
        class_loss = self._class_loss(layer.class_BQK1.float(), truths, matches, weights)
        chosen = [mask_Qhw[query_M].float() for mask_Qhw, (query_M, _) in zip(layer.mask_BQhw, matches, strict=True)]
        share = torch.tensor([w for w, (query_M, _) in zip(weights, matches, strict=True) for _ in query_M])
        share = share.to(class_loss) / max(sum(w * len(t.class_M) for w, t in zip(weights, truths, strict=True)), 1e-6)
        if not len(share):
            return class_loss + 0.0 * layer.mask_BQhw.float().sum()
        logits_MP, seen = self._look(chosen, truths, [found for _, found in matches])
        mask_M, dice_M = _mask_losses(logits_MP, seen)
        return class_loss + (share * (self.mask_weight * mask_M + self.dice_weight * dice_M)).sum()

    def _class_loss(
        self,
        class_BQK1: Tensor,
        truths: Sequence[Truth],
        matches: Sequence[tuple[Tensor, Tensor]],
        weights: Sequence[float],
    ) -> Tensor:
        no_object = class_BQK1.shape[2] - 1
        target_BQ = torch.full(class_BQK1.shape[:2], no_object, device=class_BQK1.device)
        for target_Q, truth, (query_M, found_M) in zip(target_BQ, truths, matches, strict=True):
            target_Q[query_M] = truth.class_M[found_M]
        weight_BQ = torch.where(target_BQ == no_object, self.no_object, 1.0) * class_BQK1.new_tensor(weights)[:, None]
        loss_BQ = F.cross_entropy(class_BQK1.transpose(1, 2), target_BQ, reduction="none")
        return self.class_weight * (weight_BQ * loss_BQ).sum() / weight_BQ.sum().clamp_min(1e-6)

    @torch.no_grad()
    def _match(self, class_QK1: Tensor, mask_Qhw: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
        """(query, mask) numbers of the pairs with the least total cost."""
        if not len(truth.class_M):
            none = torch.zeros(0, dtype=torch.long, device=mask_Qhw.device)
            return none, none
        mask_Qhw = mask_Qhw.float()
        if self._whole(truth):
            logits_QP, seen = _at_pixels(mask_Qhw, truth)
        else:
            point_1P2 = torch.rand(1, self.points, 2, device=mask_Qhw.device)
            logits_QP = _sample(mask_Qhw[None], point_1P2)[0]
            seen = _seen(truth, point_1P2.expand(len(truth.class_M), -1, -1))
        cost_QM = -self.class_weight * class_QK1.float().softmax(-1)[:, truth.class_M]
        cost_QM = cost_QM + _pair_costs(logits_QP, seen, self.mask_weight, self.dice_weight)
        query, mask = _assign(cost_QM)
        return query.to(mask_Qhw.device), mask.to(mask_Qhw.device)

    def _look(self, chosen: Sequence[Tensor], truths: Sequence[Truth], found: Sequence[Tensor]) -> tuple[Tensor, Seen]:
        """Logits and truth of the matched masks of all pictures, at the pixels or points where they are compared."""
        parts = [Truth(t.class_M[m], t.mask_MHW[m], t.known_HW) for t, m in zip(truths, found, strict=True) if len(m)]
        chosen = [mask_Mhw for mask_Mhw in chosen if len(mask_Mhw)]
        if self._whole(truths[0]):
            pairs = [_at_pixels(mask_Mhw, part) for mask_Mhw, part in zip(chosen, parts, strict=True)]
            logits, seen = [logits_MP for logits_MP, _ in pairs], [s for _, s in pairs]
        else:
            all_M1hw = torch.cat(chosen)[:, None]
            points = self._uncertain_points(all_M1hw).split([len(mask_Mhw) for mask_Mhw in chosen])
            logits = [_sample(m[:, None], p_MP2)[:, 0] for m, p_MP2 in zip(chosen, points, strict=True)]
            seen = [_seen(part, p_MP2) for part, p_MP2 in zip(parts, points, strict=True)]
        targets, known = zip(*seen, strict=True)
        return torch.cat(logits), Seen(torch.cat(targets), torch.cat(known))

    def _whole(self, truth: Truth) -> bool:
        return truth.known_HW.numel() <= self.points

    @torch.no_grad()
    def _uncertain_points(self, logits_M1hw: Tensor) -> Tensor:
        """[M, P, 2] in 0..1, x before y: mostly where a mask's logit is near 0."""
        masks, certain = len(logits_M1hw), int(self.importance * self.points)
        point_MN2 = torch.rand(masks, int(self.points * self.oversample), 2, device=logits_M1hw.device)
        order_MP = _sample(logits_M1hw, point_MN2)[:, 0].abs().topk(certain, dim=1, largest=False).indices
        near_MP2 = point_MN2.gather(1, order_MP[..., None].expand(-1, -1, 2))
        return torch.cat([near_MP2, torch.rand(masks, self.points - certain, 2, device=near_MP2.device)], 1)


SET_LOSS = SetLoss()


def _truth(labels_HW: Tensor) -> Truth:
    known_HW = labels_HW != IGNORE
    class_M = labels_HW[known_HW].unique()
    return Truth(class_M, labels_HW == class_M[:, None, None], known_HW)


def _at_pixels(mask_Qhw: Tensor, truth: Truth) -> tuple[Tensor, Seen]:
    size = truth.known_HW.shape
    logits_QHW = F.interpolate(mask_Qhw[None], size, mode="bilinear", align_corners=False)[0]
    known_MP = truth.known_HW.flatten().float().expand(len(truth.mask_MHW), -1)
    return logits_QHW.flatten(1), Seen(truth.mask_MHW.flatten(1).float(), known_MP)


def _seen(truth: Truth, point_MP2: Tensor) -> Seen:
    """The truth at points of each mask. Near IGNORE the pixels that count say what a point is of."""
    masks, points = point_MP2.shape[:2]
    target_MP = _sample(truth.mask_MHW[:, None].float(), point_MP2)[:, 0]
    if truth.known_HW.all():
        return Seen(target_MP, torch.ones_like(target_MP))
    inside = torch.stack([truth.known_HW.float(), torch.ones_like(truth.known_HW, dtype=torch.float32)])
    known_MP, whole_MP = _sample(inside[None], point_MP2.reshape(1, -1, 2))[0].view(2, masks, points)
    target_MP = (target_MP * whole_MP / known_MP.clamp_min(1e-6)).clamp_max(1)
    return Seen(target_MP, (known_MP > whole_MP / 2).float())


def _sample(image_NCHW: Tensor, point_NP2: Tensor) -> Tensor:
    """[N, C, P]: bilinear values at points in 0..1, x before y; beyond the picture's edge is 0."""
    grid_NP12 = 2 * point_NP2[:, :, None] - 1
    return F.grid_sample(image_NCHW, grid_NP12, mode="bilinear", align_corners=False)[..., 0]


def _mask_losses(logits_MP: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
    """Binary cross entropy and Dice of each mask with its query, over the points that count."""
    target_MP, known_MP = seen
    cross_MP = F.binary_cross_entropy_with_logits(logits_MP, target_MP, reduction="none") * known_MP
    prob_MP, target_MP = logits_MP.sigmoid() * known_MP, target_MP * known_MP
    dice_M = 1 - (2 * (prob_MP * target_MP).sum(1) + 1) / ((prob_MP + target_MP).sum(1) + 1)
    return cross_MP.sum(1) / known_MP.sum(1).clamp_min(1), dice_M


def _pair_costs(logits_QP: Tensor, seen: Seen, mask_weight: float, dice_weight: float) -> Tensor:
    """[Q, M]: the same two for every query with every mask. All masks are seen at the same points."""
    known_MP, target_MP = seen.known_MP, seen.target_MP * seen.known_MP
    yes_QP, no_QP, prob_QP = F.softplus(-logits_QP), F.softplus(logits_QP), logits_QP.sigmoid()
    cross_QM = yes_QP @ target_MP.T + no_QP @ (known_MP - target_MP).T
    cross_QM = cross_QM / known_MP.sum(1).clamp_min(1)
    total_QM = prob_QP @ known_MP.T + target_MP.sum(1)
    dice_QM = 1 - (2 * prob_QP @ target_MP.T + 1) / (total_QM + 1)
    return mask_weight * cross_QM + dice_weight * dice_QM


def _assign(cost_QM: Tensor) -> tuple[Tensor, Tensor]:
    """The Hungarian matching: row and column numbers of min(Q, M) pairs. Costs that are no numbers are matched last."""
    if find_spec("scipy") is None:
        raise UserError(
            "nets that classify masks are trained with SciPy, which is not installed: "
            "pip install 'segwright[transformers]'."
        )
    solve = import_module("scipy.optimize").linear_sum_assignment
    most = torch.finfo(cost_QM.dtype).max
    rows, columns = solve(cost_QM.nan_to_num(nan=most, posinf=most, neginf=most).cpu().numpy())
    return torch.from_numpy(rows).long(), torch.from_numpy(columns).long()
