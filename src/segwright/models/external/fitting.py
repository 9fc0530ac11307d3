"""What a net of another library needs to know about itself: sizes that it takes, and parameters that it never uses.

Letters: H W pixels.
"""

from __future__ import annotations

import torch
from torch import nn

from segwright.contracts import Outputs
from segwright.models.tracing import evaluation_mode, trace, without_memory

REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError)
"""What libraries raise for a size that does not suit them."""


def fitting_sizes(net: nn.Module, own: int) -> tuple[int, int] | str:
    """(stride, smallest side) that the net takes; or, where none was found, why it refused the last size tried.

    own: the stride of the net's deepest layer. Sizes are tried without arithmetic, in evaluation mode.
    """
    strides = dict.fromkeys(s for s in (own, 2 * own, 32, 64, 112, 128, 224, 256) if s % own == 0)
    tensors = without_memory(net)
    reason = ""
    with evaluation_mode(net), torch.no_grad():
        for stride in strides:
            for smallest in (1, 2, 4, 8):
                small, middle, large = (stride * (smallest + step) for step in (0, 1, 2))
                try:
                    for size in ((small, middle), (large, middle), (small, large)):
                        trace(net, tensors, size)
                except REFUSALS as error:
                    reason = first_line(error)
                else:
                    return stride, small
    return reason


def never_used(net: nn.Module, side: int, *, arithmetic: bool = False) -> tuple[str, ...]:
    """Parameters that no output depends on, such as encoder layers deeper than the decoder reads.

    net: returns a tensor or Outputs. side: height and width to try with, pixels. arithmetic: for nets whose course
    depends on numbers: run it on a picture of zeros, not on tensors without memory.
    """
    tensors = dict(net.named_parameters()) if arithmetic else without_memory(net)
    with evaluation_mode(net), torch.enable_grad():
        found = net(torch.zeros(1, 3, side, side)) if arithmetic else trace(net, tensors, (side, side))
    total = found.logits_BKhw.sum() if isinstance(found, Outputs) else found.sum()
    names = [name for name, _ in net.named_parameters() if tensors[name].requires_grad]
    gradients = torch.autograd.grad(total, [tensors[n] for n in names], allow_unused=True)
    return tuple(n for n, gradient in zip(names, gradients, strict=True) if gradient is None)


def first_line(error: Exception) -> str:
    """The error in a few words, to stand inside a message of ours."""
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:160]
