"""One optimiser step of several processes: the same weights come out as if one process had held the whole batch.

Each process's loss counts by its share of the labelled pixels (`SegmentationLoss.mass`), because a mean of means is no
mean where processes hold different numbers of them. Exact where the loss is a mean over pixels; a loss of whole classes,
such as Dice, is computed on each process's pictures and averaged. Gradients travel once a step, while it runs backwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from segwright.contracts import Batch, Outputs
from segwright.losses import SegmentationLoss
from segwright.models import Segmenter
from segwright.recipe import Recipe
from segwright.training.compiling import compiled
from segwright.training.distributed import AgreedStop, Team
from segwright.training.memory import OutOfMemory, is_out_of_memory
from segwright.training.state import Learner
from segwright.training.step import Refused, Step
from segwright.training.synced_norm import not_counting

_BUFFERS_STAY: dict[str, Any] = {
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else "broadcast_buffers": False  # the name until torch 2.14
}
"""`average_statistics` brings them together."""


class Outputting(nn.Module):
    """A Segmenter whose forward is what training calls."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, image: Tensor) -> Outputs:
        return self.segmenter.outputs(image)


class SharedNetwork:
    """The model whose gradients are means over all processes. To be made anew when other layers learn."""

    def __init__(self, segmenter: Segmenter, team: Team) -> None:
        self.segmenter, self.team = segmenter, team
        self.batch_statistics = batch_statistics(segmenter)
        with _without_unused(segmenter):
            self.network = DistributedDataParallel(Outputting(segmenter), **_BUFFERS_STAY)

    def outputs(self, image: Tensor) -> Outputs:
        found: Outputs = self.network(image)
        return found

    def alone(self) -> AbstractContextManager[None]:
        """Backward passes inside keep their gradients for the step's last batch, which sends the sum."""
        kept: AbstractContextManager[None] = self.network.no_sync()
        return kept

    def deployed(self, learner: Learner) -> Segmenter:
        """The weights that are validated and kept."""
        return learner.deployed

    @torch.no_grad()
    def average_statistics(self, share: float) -> None:
        """Batch statistics become the mean over processes. share: of this one, all together 1."""
        if not self.batch_statistics:
            return
        flat = torch.cat([buffer.reshape(-1) for buffer in self.batch_statistics]) * share
        distributed.all_reduce(flat)
        sizes = [buffer.numel() for buffer in self.batch_statistics]
        for buffer, mean in zip(self.batch_statistics, flat.split(sizes), strict=True):
            buffer.copy_(mean.view_as(buffer))


def batch_statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances of batch normalisation."""
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    return [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]


@contextmanager
def _without_unused(segmenter: Segmenter) -> Iterator[None]:
    """DDP waits for the gradient of every parameter that learns when it is made; those that the model names have none."""
    unused = [p for n, p in segmenter.named_parameters() if n in segmenter.unused and p.requires_grad]
    for parameter in unused:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in unused:
            parameter.requires_grad_(True)


class SharedStep(Step):
    """A Step that all processes do together.

    batches: of this epoch, to know the last. request: learns here whether any process was asked to stop.
    """

    def __init__(
        self,
        recipe: Recipe,
        learner: Learner,
        loss: SegmentationLoss,
        say: Callable[[str], None],
        *,
        network: SharedNetwork,
        team: Team,
        request: AgreedStop,
        batches: int,
    ) -> None:
        super().__init__(recipe, learner, loss, say)
        self._forward = compiled(network.outputs, recipe)
        self.network, self.team, self.request, self.batches = network, team, request, batches
        self._shares: list[float] = []
        self._pictures = 0
        self._has_gradients = False

    def begin(self) -> None:
        super().begin()
        self._shares, self._pictures, self._has_gradients = [], 0, False

    def add(self, batch: Batch, *, share: float) -> None:
        """As in one process; `batch` is what this one has of it."""
        self._names.append(batch.names)
        self._pictures += len(batch.names)
        weights = batch.weights.to(batch.labels.device)
        mass = float(self.loss.mass(batch.labels, weights, batch.membership_LK))
        said_R2 = self.team.gather([mass, self.request.own.number or 0])
        self.request.note(said_R2[:, 1].tolist())
        last = (batch.index + 1) % self.training.accumulation == 0 or batch.index + 1 == self.batches
        total = float(said_R2[:, 0].sum())
        if total == 0:
            self._losses.append(None)
            self._shares.append(0.0)
            if last and self._has_gradients:  # those of the batches before are sent with this one's, which are 0
                self._share_backward(batch, 0.0, idle=True)
            return
        self._shares.append(mass / total)
        try:
            with nullcontext() if last else self.network.alone():
                self._losses.append(self._share_backward(batch, share * mass / total, idle=not batch.names))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"process {self.team.index} ran out of memory with {len(batch.names)} crops of "
                f"{'×'.join(map(str, batch.image.shape[-2:]))}. A smaller training.batch with more training.accumulation needs "
                "less, and so does a smaller augmentation.size"
            ) from None
        self._has_gradients = True

    def _share_backward(self, batch: Batch, share: float, *, idle: bool) -> float:
        """Backward even where the loss is not finite: the others wait for it, and all of them then refuse the step."""
        self.loss.train(share > 0)  # an adaptive loss counts no void pictures
        with not_counting(self.learner.segmenter, idle=idle):
            loss = self._loss_of(batch)
        self.learner.scaler.scale(loss * (share * self.team.count)).backward()
        self._last = loss.item()
        return self._last

    def end(self) -> Refused | None:
        """All processes change their weights, or none does."""
        own = [
            0.0 if x is None else float(x) * s if s > 0 else 0.0
            for x, s in zip(self._losses, self._shares, strict=True)
        ]
        said_Rn = self.team.gather([self._pictures, *own])
        whole = said_Rn[:, 1:].sum(0).tolist()
        self._losses = [None if x is None else mean for x, mean in zip(self._losses, whole, strict=True)]
        self._last = next((x for x in reversed(self._losses) if x is not None), math.nan)
        self.network.average_statistics(self._pictures / float(said_Rn[:, 0].sum()))
        refused = super().end()
        return None if refused is None else replace(refused, names=self.team.all_names(refused.names))
