"""One optimiser step: its batches forward and backward, then the weights. A step that fails leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from segwright.contracts import Batch, Outputs
from segwright.inference.running import DTYPES
from segwright.losses import SegmentationLoss, total_loss
from segwright.recipe import Recipe
from segwright.training.compiling import compiled
from segwright.training.memory import OutOfMemory, advice, can_halve, estimate, in_parts, is_out_of_memory, release
from segwright.training.rewind import Rewind
from segwright.training.state import Learner, whole


@dataclass(frozen=True)
class Refused:
    """A step that changed no weight. names: samples of the batch, or of all batches of the step; why: a clause."""

    names: tuple[str, ...]
    why: str


class Step:
    """`begin`, then `add` each batch, then `end`; or `undo` before the end, and doing it again gives the same bits.

    A batch without a labelled pixel teaches nothing: it is counted and left out. When memory runs out, `add` runs the
    step again with each batch in parts (`training.halve_on_oom`), or raises OutOfMemory with what would fit.
    A device is asked once a step, at its end: for the losses and the norm of the gradients, together.
    """

    def __init__(self, recipe: Recipe, learner: Learner, loss: SegmentationLoss, say: Callable[[str], None]) -> None:
        self.training, self.learner, self.loss, self.say = recipe.training, learner, loss, say
        self.auxiliary_weight = recipe.loss.auxiliary_weight
        self._last: Tensor | float = math.nan
        self._classifies_masks = False
        self.heads = 1.0
        """What the heads count together: 1 for the main one, and the auxiliary weight for each further one."""
        self._forward = compiled(learner.segmenter.outputs, recipe)
        self._rewind = Rewind(learner, loss)
        self._batches: list[Batch] = []
        self._losses: list[Tensor | float | None] = []
        self._names: list[tuple[str, ...]] = []

    def begin(self) -> None:
        """A new step: nothing added yet."""
        self._rewind.mark()
        self._batches, self._losses, self._names = [], [], []

    def add(self, batch: Batch, *, share: float) -> None:
        """Forward and backward of one batch. share: its weight in the step, 1 / number of batches."""
        if not self.training.halve_on_oom:
            self._batches.clear()  # only a step that may be run again needs them all
        self._batches.append(batch)
        self._names.append(batch.names)
        try:
            self._losses.append(self._backward(batch, share))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        self._with_less_memory(share)  # outside the handler, whose traceback holds the activations

    @property
    def loss_value(self) -> float:
        """Of the last batch that had labelled pixels. Before `end`, the device is waited for."""
        return float(self._last)

    @property
    def learned(self) -> bool:
        """Whether any pixel of what was added has a label."""
        return any(loss is not None for loss in self._losses)

    def undo(self) -> None:
        """Put everything back to where `begin` was called."""
        self._rewind.back()

    def end(self) -> Refused | None:
        """Change the weights; what was refused instead, when a loss or a gradient is not finite."""
        counters = self.learner.counters
        counters.void += sum(loss is None for loss in self._losses)
        if not self.learned:
            return None
        known, norm, sound = self._known()
        self._last = known[-1][1]
        finite = [loss for _, loss in known if math.isfinite(loss)]
        self._count(finite)
        if len(finite) == len(known) and self._update(norm, sound=sound):
            counters.bad_in_a_row = 0
            return None
        self._rewind.drop()
        counters.skipped += 1
        counters.bad_in_a_row += 1
        for names, loss in known:
            if not math.isfinite(loss):
                self.learner.scaler.update()  # the gradients were unscaled, and are not used
                return Refused(names, f"the loss is {loss}")
        return Refused(tuple(name for names in self._names for name in names), "a gradient is not finite")

    def _known(self) -> tuple[list[tuple[tuple[str, ...], float]], Tensor, bool]:
        """Names and loss of each batch that has one; the norm of all gradients, and whether it is finite.

        This is where the device is waited for, once.
        """
        self.learner.scaler.unscale_(self.learner.optimizer)
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.learner.segmenter.parameters() if p.grad is not None]
        )
        named = [(names, loss) for names, loss in zip(self._names, self._losses, strict=True) if loss is not None]
        asked = [loss for _, loss in named if isinstance(loss, Tensor)]
        *found, size = torch.stack([*asked, whole(norm).to(asked[0].device) if asked else whole(norm)]).tolist()
        answers = iter(found)
        known = [(names, next(answers) if isinstance(loss, Tensor) else loss) for names, loss in named]
        return known, norm, math.isfinite(size)

    def _backward(self, batch: Batch, share: float) -> Tensor | None:
        """The mean loss of the batch, on its device; None where no pixel is labelled."""
        if not batch.labelled:
            return None
        losses = []
        for part, of_batch in in_parts(batch, self.learner.counters.parts):
            loss = self._loss_of(part)
            self.learner.scaler.scale(loss * (share * of_batch)).backward()
            losses.append(loss.detach() * of_batch)
        self._last = torch.stack(losses).sum()
        return self._last

    def _loss_of(self, batch: Batch) -> Tensor:
        with autocast(self.training.device, self.training.precision):
            outputs = self._forward(batch.image)
        self._look_at(outputs)
        return total_loss(self.loss, outputs, batch, auxiliary_weight=self.auxiliary_weight)

    def _look_at(self, outputs: Outputs) -> None:
        self._classifies_masks = outputs.queries is not None
        self.heads = 1 + self.auxiliary_weight * len(outputs.auxiliary)

    def _count(self, losses: list[float]) -> None:
        counters = self.learner.counters
        for loss in losses:
            if counters.first_loss is None:
                counters.first_loss = loss
                if self._classifies_masks:
                    self.say(
                        f"first loss {loss:.2f}, the set loss of a net that classifies masks, summed over its layers"
                    )
                elif self.loss.starts_at_ln_k:
                    self.say(explain_first_loss(loss, self.learner.segmenter.num_classes, heads=self.heads))
                else:
                    self.say(f"first loss {loss:.2f} ({self.loss.name})")
            counters.loss_sum += loss
            counters.loss_count += 1

    def _update(self, norm: Tensor, *, sound: bool) -> bool:
        """Change the weights by the gradients at hand; False, and nothing changed, when their norm is not `sound`."""
        optimizer, scaler = self.learner.optimizer, self.learner.scaler
        if not scaler.is_enabled() and not sound:  # an enabled scaler skips the step itself and scales less
            return False
        if self.training.clip_norm is not None:
            parameters = list(self.learner.segmenter.parameters())
            torch.nn.utils.clip_grads_with_norm_(parameters, self.training.clip_norm, norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if self.learner.average is not None:
            self.learner.average.update(self.learner.counters.step + 1)
        return True

    def _with_less_memory(self, share: float) -> None:
        """The step again from its first batch, in twice as many parts, until it fits. Raises OutOfMemory when it cannot."""
        counters, batch = self.learner.counters, self._batches[-1]
        pictures = len(batch.names)
        while self.training.halve_on_oom and can_halve(pictures, counters.parts):
            counters.parts *= 2
            self.say(
                f"[yellow]out of memory: a batch of {pictures} now runs in {counters.parts} parts. The optimiser's step "
                f"stays the same; batch normalisation sees {pictures // counters.parts} pictures at a time[/]"
            )
            self.undo()
            release(self.training.device)
            try:
                self._losses = [self._backward(b, share) for b in self._batches]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                return
        self.undo()
        release(self.training.device)
        stride, device = self.learner.segmenter.stride, self.training.device
        trained = [p for p in self.learner.segmenter.parameters() if p.requires_grad]
        moments = 0 if self.learner.optimizer.state else 2
        fixed = sum(p.numel() * p.element_size() for p in trained) * (1 + moments)
        found = estimate(batch, self._loss_of, fixed_bytes=fixed, stride=stride, device=device)
        self.undo()
        raise OutOfMemory(f"out of memory: {advice(found, batch, stride=stride, device=device)}")


def autocast(device: str, precision: str) -> torch.autocast:
    """The autocast context of a precision; off for fp32."""
    return torch.autocast(torch.device(device).type, DTYPES[precision], enabled=precision != "fp32")


def explain_first_loss(loss: float, num_classes: int, *, heads: float = 1.0) -> str:
    """What the first loss says: an untrained net with K classes that knows nothing has cross entropy ln K.

    heads: what its heads count together, 1 without auxiliary ones.
    """
    expected = heads * math.log(num_classes)
    name = f"ln {num_classes}" if heads == 1 else f"{heads:g} · ln {num_classes}, auxiliary heads included,"
    if 0.6 * expected <= loss <= 1.7 * expected:
        return f"first loss {loss:.2f}; an uninformed model has {name} = {expected:.2f}: as it should be"
    if loss < 0.6 * expected:
        cause = "the weights are already trained, or one class fills the first batch"
    else:
        cause = (
            "the last layer starts with large weights, the input is not normalised, or the class weights are extreme"
        )
    return f"[yellow]first loss {loss:.2f} is far from {name} = {expected:.2f}: {cause}[/]"
