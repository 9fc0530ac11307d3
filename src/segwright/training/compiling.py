"""torch.compile for the forward and backward pass of training; validation and what is saved stay as they are.

Letters: B batch, H W pixels.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import cast

import torch
from torch import Tensor

from segwright.contracts import Outputs, UserError
from segwright.recipe import Recipe

Forward = Callable[[Tensor], Outputs]
"""An image [B, 3, H, W] -> what a model answers in training."""


def compiled(forward: Forward, recipe: Recipe) -> Forward:
    """`forward` as the recipe wants it. A compiled one is translated at its first call, once for each size of batch."""
    return cast(Forward, torch.compile(forward, dynamic=False)) if recipe.training.compile else forward


def check_compiler(recipe: Recipe) -> None:
    """Raises UserError where torch.compile is wanted and would not work: no compiler, no Triton, sharded parameters."""
    training = recipe.training
    if not training.compile:
        return
    remedy = "or leave out training.compile=true."
    if training.parallel == "fsdp":
        raise UserError(f"training.compile does not go together with training.parallel=fsdp: use ddp, {remedy}")
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        raise UserError(
            f"training.compile needs a C++ compiler, and neither $CXX nor g++ or clang++ is there. Install one, {remedy}"
        )
    if training.device.startswith("cuda") and find_spec("triton") is None:
        raise UserError(f"training.compile on a GPU needs Triton, which torch for Linux brings. Install it, {remedy}")
