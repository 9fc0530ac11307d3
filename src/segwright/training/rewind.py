"""Back to where an optimiser step began: batch statistics, the loss's own state, random numbers, no gradients."""

from __future__ import annotations

import torch
from torch import nn

from segwright.training.state import Learner


class Rewind:
    """Weights change only at the end of a step, so this is all that a step half done has touched."""

    def __init__(self, learner: Learner, loss: nn.Module) -> None:
        self._learner = learner
        self._live = [*learner.segmenter.buffers(), *loss.buffers()]
        self._kept = [b.clone() for b in self._live]
        self._random = torch.get_rng_state()
        self._random_cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None

    @torch.no_grad()
    def mark(self) -> None:
        """A step begins here."""
        for kept, live in zip(self._kept, self._live, strict=True):
            kept.copy_(live)
        self._random = torch.get_rng_state()
        self._random_cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None

    @torch.no_grad()
    def drop(self) -> None:
        """Forget the gradients and put the buffers back; random numbers stay used."""
        self._learner.optimizer.zero_grad(set_to_none=True)
        for kept, live in zip(self._kept, self._live, strict=True):
            live.copy_(kept)

    def back(self) -> None:
        """As if the step had never begun: doing it again gives the same bits."""
        self.drop()
        torch.set_rng_state(self._random)
        if self._random_cuda is not None:
            torch.cuda.set_rng_state(self._random_cuda)
