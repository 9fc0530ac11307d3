"""The first epoch, watched: when a training goes wrong in a known way, one line says the likely cause and what to do.

Letters: B batch, C colour, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from segwright.contracts import IGNORE, Batch, Outputs
from segwright.labels import LabelSpace
from segwright.models import Segmenter
from segwright.recipe import Recipe

GRADIENT_STEPS = (2, 6)
"""Steps, 0 for the first, whose gradients are looked at: a part is dead when both are zero. Layers that begin as zeros
have a gradient by then."""
FEW_STEPS = 20
"""Nothing is said about a course of fewer steps."""
RISE = 2.0
FALL = 0.995
"""The mean loss of the last third, over that of the first, above which it does not fall."""
UNTRAINED = 0.6
"""Share of ln K from which on a cross entropy says that little is known; a model that is good may stay as it is."""
ONE_CLASS, TRUTH = 0.99, 0.9
"""Share of the predictions that one class has, and the largest share of the true pixels for which that is odd."""
LONG_WAIT = 0.3
SHORTEST_S = 5.0
"""Seconds of an epoch below which its waiting says nothing."""
MEAN_LIMIT, STD_LIMITS = 3.5, (0.02, 5.0)
"""Bounds of the mean and deviation of what the network gets. Any picture normalised with ImageNet's numbers, or with
mean 0 and deviation 1, is inside unless it is all of one colour."""
SMALL_BATCH = 2


class Watchdog:
    """Looks on during the first epoch; `say` gets each warning once.

    Reads numbers that the loop has on the host already. Three times an epoch it asks the device for a few more: for the
    first batch, and for the gradients and predictions of single steps. It changes nothing and draws no random numbers.
    fresh: whether training starts from weights that know nothing of the task; then the loss has to fall.
    """

    def __init__(
        self, recipe: Recipe, segmenter: Segmenter, *, steps: int, fresh: bool, ln_k: bool, say: Callable[[str], None]
    ) -> None:
        self.recipe, self.segmenter, self.steps, self.say = recipe, segmenter, steps, say
        self.fresh, self.ln_k = fresh, ln_k
        self.awake = True
        """Asleep, it does nothing."""
        self.said: set[str] = set()
        self._step, self._void = 0, 0
        self._losses: list[float] = []
        self._dead: set[str] | None = None
        self._hook: RemovableHandle | None = None
        self._votes_K: Tensor | None = None
        self._truth_K: Tensor | None = None

    def before(self, batch: Batch) -> None:
        """A step begins with this batch."""
        if not self.awake:
            return
        if self._step == 0:
            self._look_at_input(batch)
            self._look_at_norms(len(batch.names))
        if self._step == max(self.steps - 2, FEW_STEPS - 2) and self._truth_K is None:
            self._count_predictions(batch)

    def after(self, loss: float, *, learned: bool) -> None:
        """The backward pass is done, the weights are not changed yet. learned: whether any pixel had a label."""
        if not self.awake:
            return
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if not learned:
            self._void += 1
            if self._void == self._step + 1 >= 3:
                self._warn(
                    "void",
                    "no pixel of the first batches has a label: all of them are ignored. Likely causes: the label space does "
                    "not fit the masks, or crops that miss the labelled area. Look: segwright data show",
                )
        elif math.isfinite(loss):
            self._losses.append(loss)
            self._look_for_rise()
        if (
            self._step in GRADIENT_STEPS and learned and self.recipe.loss.auxiliary_weight > 0
        ):  # else heads rest on purpose
            self._look_at_gradients()
        self._step += 1

    def end_epoch(self, *, wait: float, seconds: float) -> None:
        """The epoch is over. wait: share of it in which the model waited for batches; seconds: how long it took."""
        if not self.awake:
            return
        if self._hook is not None:
            self._hook.remove()
        self._look_for_fall()
        self._look_at_predictions()
        if wait > LONG_WAIT and seconds > SHORTEST_S:
            self._warn(
                "wait",
                f"the model waited for pictures {wait:.0%} of the time. Try data.cache=memory or data.cache=pack, more "
                "training.workers, or fewer colour operations in the augmentation",
            )

    def _warn(self, cause: str, text: str) -> None:
        if cause not in self.said:
            self.said.add(cause)
            self.say(f"[yellow]watch out: {text.replace('[', chr(92) + '[')}.[/]")

    @torch.no_grad()
    def _look_at_input(self, batch: Batch) -> None:
        normal_BCHW = self.segmenter.normalise(batch.image)
        std_C, mean_C = torch.std_mean(normal_BCHW, (0, 2, 3))
        worst, deviation = torch.stack([mean_C.abs().max(), std_C.max()]).tolist()
        if worst <= MEAN_LIMIT and STD_LIMITS[0] <= deviation <= STD_LIMITS[1]:
            return
        self._warn(
            "input",
            f"what the network gets has a mean of up to {worst:.2g} and a deviation of {deviation:.2g}; about 0 and 1 are "
            "expected. Likely causes: model.mean and model.std do not belong to these pictures, or the pictures hold a tiny "
            "range of values (0 and 1, say). `segwright data stats` prints both numbers",
        )

    def _look_at_norms(self, pictures: int) -> None:
        learning = [
            m
            for m in self.segmenter.modules()
            if isinstance(m, _BatchNorm)
            and not isinstance(m, nn.SyncBatchNorm)
            and m.training
            and any(p.requires_grad for p in m.parameters())
        ]
        if pictures <= SMALL_BATCH and learning:
            self._warn(
                "norm",
                f"batch normalisation sees {pictures} picture{'s' * (pictures > 1)} at a time, too few for good statistics. "
                "Use a larger training.batch (smaller crops make room; training.accumulation does not help here)",
            )

    def _look_for_rise(self) -> None:
        losses = self._losses
        if len(losses) < 8:
            return
        before, now = statistics.fmean(losses[:3]), statistics.fmean(losses[-5:])
        if before > 0 and now > RISE * before:
            self._warn(
                "rise",
                f"the loss rose from {before:.2f} to {now:.2f}: the learning rate is probably too high. Try a tenth of "
                f"optimizer.lr={self.recipe.optimizer.lr:g}, a longer schedule.warmup, or training.clip_norm=1.0; `segwright "
                "lr-find` looks for a good rate",
            )

    def _look_for_fall(self) -> None:
        losses = self._losses
        if not self.fresh or len(losses) < FEW_STEPS or "rise" in self.said:
            return
        third = len(losses) // 3
        before, now = statistics.fmean(losses[:third]), statistics.fmean(losses[-third:])
        if self.ln_k and now < UNTRAINED * math.log(self.segmenter.num_classes):
            return
        if before > 0 and now > FALL * before:
            self._warn(
                "fall",
                f"the loss did not fall in the first epoch ({before:.3f} to {now:.3f}). Likely causes: optimizer.lr="
                f"{self.recipe.optimizer.lr:g} is far too low or too high (`segwright lr-find`), masks that do not belong to "
                "their pictures (`segwright data show`), or a loss that does not suit them. `segwright train RECIPE "
                "--overfit-one-batch` tells whether the model can learn at all",
            )

    def _count_predictions(self, batch: Batch) -> None:
        """Count, on the device, what the next forward pass predicts; it is read at the end of the epoch."""

        @torch.no_grad()
        def count(_: nn.Module, __: object, outputs: Outputs) -> None:
            classes = self.segmenter.num_classes
            self._votes_K = torch.bincount(outputs.logits_BKhw.max(1).indices.flatten(), minlength=classes)
            labels = batch.labels[batch.labels != IGNORE]
            self._truth_K = torch.bincount(labels, minlength=classes)

        self._hook = self.segmenter.architecture.register_forward_hook(count)

    def _look_at_predictions(self) -> None:
        if self._votes_K is None or self._truth_K is None or len(self._losses) < FEW_STEPS:
            return
        votes, truth = self._votes_K.tolist(), self._truth_K.tolist()
        index = max(range(len(votes)), key=votes.__getitem__)
        share, true_share = votes[index] / max(1, sum(votes)), truth[index] / max(1, sum(truth))
        if share <= ONE_CLASS or true_share > TRUTH:
            return
        space: LabelSpace = self.segmenter.labels
        self._warn(
            "one class",
            f"at the end of the first epoch {share:.0%} of the pixels are predicted as '{space.class_names[index]}', which "
            f"{true_share:.0%} of them are. Likely causes: an optimizer.lr that is too high or too low, classes of very "
            "unequal size (try loss.args.class_weights=log), or masks whose other values are ignored (`segwright data check`)",
        )

    @torch.no_grad()
    def _look_at_gradients(self) -> None:
        named = [
            (n, p) for n, p in self.segmenter.named_parameters() if p.requires_grad and n not in self.segmenter.unused
        ]
        with_one = [(n, p.grad) for n, p in named if p.grad is not None]
        if any(hasattr(gradient, "to_local") for _, gradient in with_one):
            return  # this process holds a part of each gradient, which may well be 0
        norms: list[float] = []
        if with_one:
            norms = torch.stack(torch._foreach_norm([g for _, g in with_one], ord=math.inf)).tolist()
        moved = {name for (name, _), norm in zip(with_one, norms, strict=True) if norm != 0}
        still = {name for name, _ in named} - moved
        before, self._dead = self._dead, still
        if before is None:
            return
        parts = dead_parts([name for name, _ in named], still & before)
        if parts:
            shown = ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")
            self._warn(
                "gradient",
                f"nothing reaches {shown}: every gradient there is 0. Likely causes: units that died because optimizer.lr is "
                "too high, a part of the network that no output depends on, or a loss weight of 0. model.freeze is the way "
                "to keep layers as they are on purpose",
            )


def dead_parts(names: list[str], dead: set[str]) -> list[str]:
    """The largest modules all of whose parameters are dead, by name, in order. names: of all parameters that learn.

    A bias or a weight that is alone dead, beside another parameter of its module that is not, is none.
    """
    found: list[str] = []
    for name in names:
        if name not in dead or any(name.startswith(f"{part}.") for part in found):
            continue
        words = name.split(".")
        for length in range(1, len(words)):
            part = ".".join(words[:length])
            if all(other in dead for other in names if other.startswith(f"{part}.")):
                found.append(part)
                break
    return [part.removeprefix("architecture.") for part in found]
