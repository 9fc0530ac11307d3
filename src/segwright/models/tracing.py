"""Running a module on tensors without memory: output shapes and dependencies of any size, without arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode inside the block; every part in its own mode again after it."""
    training = [m for m in module.modules() if m.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def without_memory(module: nn.Module) -> dict[str, Tensor]:
    """Stand-ins for the module's parameters and buffers, by name; those of parameters take gradients."""
    parameters = {n: p.detach().to("meta").requires_grad_() for n, p in module.named_parameters()}
    return parameters | {n: b.to("meta") for n, b in module.named_buffers()}


def trace(module: nn.Module, tensors: Mapping[str, Tensor], size: tuple[int, int]) -> Any:
    """What the module returns for one picture of `size` (height, width), made of tensors without memory."""
    return functional_call(module, dict(tensors), (torch.empty(1, 3, *size, device="meta"),))
