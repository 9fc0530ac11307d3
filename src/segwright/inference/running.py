"""Running a model without training it: modes, precision and memory format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segwright.contracts import UserError

Precision = Literal["fp32", "bf16", "fp16"]
MemoryFormat = Literal["contiguous", "channels_last"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def check_mode(precision: str, memory_format: str) -> None:
    """Raises UserError for an unknown precision or memory format."""
    for key, value, allowed in (("precision", precision, DTYPES), ("memory_format", memory_format, FORMATS)):
        if value not in allowed:
            raise UserError(f"{key} is {value!r}; allowed are {', '.join(allowed)}.")


@contextmanager
def no_training(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every submodule is back in the mode it was in, frozen ones included."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def computing(device: str, precision: str) -> Iterator[None]:
    """No gradients, and autocast to `precision` (off for fp32)."""
    cast = torch.autocast(torch.device(device).type, DTYPES[precision], enabled=precision != "fp32")
    with torch.inference_mode(), cast:
        yield


def as_image(rgb_HWC: NDArray[np.uint8], device: str, memory_format: str) -> Tensor:
    """uint8 [H, W, 3] -> uint8 [1, 3, H, W] on the device. Channels last is how pictures are decoded: no copy."""
    image = torch.from_numpy(np.require(rgb_HWC, requirements=["C", "W"])).permute(2, 0, 1)[None]
    return image.to(device).contiguous(memory_format=FORMATS[memory_format])
