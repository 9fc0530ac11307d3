"""A weighted sum of losses, with fixed weights or weights that adapt once an epoch.

Letters: B batch, K classes, H W pixels, J losses of the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from segwright.contracts import UserError
from segwright.losses.adaptive import adapted_weights
from segwright.losses.arguments import flag, number
from segwright.losses.contract import SegmentationLoss
from segwright.losses.registry import SINGLE_LOSSES
from segwright.names import did_you_mean

PART_KEYS = ("name", "weight", "args")


class Combined(SegmentationLoss):
    """Σ_j w_j · L_j.

    losses: a mapping for each loss: `name`; `weight`, 0 or more, 1 unless given; `args` of that loss.
    adaptive: after each epoch the weights follow the mean of each loss over the training batches of the epoch, by the
    rule of `adapted_weights` with a = smoothing. The first epoch has the given weights, scaled to sum 1. Outputs of
    auxiliary heads count in the means.
    Weights, means and what the epoch has counted so far are buffers: they belong into a checkpoint. Only values with a
    gradient in training mode are counted, so validating changes nothing. With several processes all count together.
    """

    name = "combined"
    summed = ("sum_J", "count")
    takes_multilabel = True  # where all of its losses do: each of them refuses what it cannot take
    part_weights_J: Tensor
    before_J: Tensor
    sum_J: Tensor
    epochs: Tensor
    count: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        losses: Sequence[Mapping[str, Any]],
        adaptive: bool = False,
        smoothing: float = 0.5,
    ) -> None:
        super().__init__()
        self.adaptive = flag("adaptive", adaptive)
        self.smoothing = number("smoothing", smoothing, least=0, most=1, above=True)
        if not isinstance(losses, Sequence) or isinstance(losses, str) or not losses:
            raise UserError(
                f"loss.args.losses is {losses!r}; allowed is a list of one loss or more, such as "
                "[{name: cross_entropy, weight: 0.6}, {name: dice, weight: 0.4}]."
            )
        parts = [_part(place, part, num_classes) for place, part in enumerate(losses)]
        self.parts = nn.ModuleList(part for part, _ in parts)
        self.titles = _unique([part.name for part, _ in parts])
        weights_J = torch.tensor([weight for _, weight in parts])
        if weights_J.sum() == 0:
            raise UserError("the weights of all loss.args.losses are 0; at least one must be above 0.")
        if adaptive and (signed := [part.name for part, _ in parts if part.can_be_negative]):
            raise UserError(
                f"loss.args.adaptive divides by the losses, and {signed[0]} can be 0 or negative. Use fixed weights: "
                "adaptive: false, and a weight for each of the losses."
            )
        self.register_buffer("part_weights_J", weights_J / weights_J.sum() if adaptive else weights_J)
        self.register_buffer("before_J", torch.zeros_like(weights_J))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.register_buffer("sum_J", torch.zeros_like(weights_J))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        values_J = torch.stack([part(logits_BKHW, labels, weights_B, membership_LK) for part in self.parts])
        if self.training and torch.is_grad_enabled():
            self._count(values_J.detach().to(self.sum_J.dtype))
        return (values_J * self.part_weights_J).sum()

    def check_sets(self) -> None:
        for part in self.parts:
            if isinstance(part, SegmentationLoss):
                part.check_sets()

    def end_epoch(self) -> dict[str, Any]:
        """Adapt the weights. Returns the mean of each loss and the weights that the epoch had."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self.sum_J)
            distributed.all_reduce(self.count)
        if int(self.count) == 0:
            return {}
        now, weights = (self.sum_J / self.count).tolist(), self.part_weights_J.tolist()
        if self.adaptive:
            before = None if int(self.epochs) == 0 else self.before_J.tolist()
            self.part_weights_J.copy_(torch.tensor(adapted_weights(weights, before, now, self.smoothing)))
        self.before_J.copy_(torch.tensor(now))
        self.epochs += 1
        self.sum_J.zero_()
        self.count.zero_()
        shown = {"losses": now, "loss_weights": weights}
        return {
            key: {title: round(value, 6) for title, value in zip(self.titles, values, strict=True)}
            for key, values in shown.items()
        }

    @torch.no_grad()
    def _count(self, values_J: Tensor) -> None:
        """A batch whose loss is not finite is not counted: it changes no weight of the model either."""
        good = values_J.isfinite().all()
        self.sum_J += torch.where(good, values_J, 0)
        self.count += good


def _part(place: int, part: object, num_classes: int) -> tuple[SegmentationLoss, float]:
    """One loss of the sum and its weight. Errors name the place in the recipe."""
    where = f"loss.args.losses[{place}]"
    if not isinstance(part, Mapping) or "name" not in part:
        raise UserError(f"{where} is {part!r}; allowed is a mapping with a name, and with weight and args if wanted.")
    for key in part:
        if key not in PART_KEYS:
            raise UserError(
                f"{where} has no '{key}'.{did_you_mean(str(key), PART_KEYS)} Allowed: {', '.join(PART_KEYS)}."
            )
    name, args = part["name"], part.get("args") or {}
    if name not in SINGLE_LOSSES:
        inner = " Write the losses of an inner sum into the outer one." if name == Combined.name else ""
        hint = did_you_mean(str(name), SINGLE_LOSSES)
        raise UserError(
            f"{where}.name is '{name}', which cannot be part of a sum.{hint}{inner} There are: {', '.join(SINGLE_LOSSES)}."
        )
    if not isinstance(args, Mapping):
        raise UserError(f"{where}.args is {args!r}; allowed is a mapping.")
    try:
        loss = SINGLE_LOSSES[name](num_classes, **args)
        return loss, number("weight", part.get("weight", 1.0), least=0)
    except TypeError as error:
        raise UserError(f"{where}.args do not suit {name}: {error}. Given: {dict(args)}.") from error
    except UserError as error:
        told = str(error)
        key = f"{where}." if told.startswith("loss.args.weight is") else f"{where}.args."
        raise UserError(told.replace("loss.args.", key)) from None


def _unique(names: Sequence[str]) -> list[str]:
    """focal, focal-2."""
    return [n if n not in names[:i] else f"{n}-{names[: i + 1].count(n)}" for i, n in enumerate(names)]
