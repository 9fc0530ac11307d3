"""Small label spaces and pictures for the tests of models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from segwright.labels import LabelClass, LabelSpace


@pytest.fixture(autouse=True)
def one_thread_one_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def space(num_classes: int, *, exclusive: bool = True) -> LabelSpace:
    classes = tuple(LabelClass(name=f"class {i}", values=(i,), color=(i, 2 * i, 3 * i)) for i in range(num_classes))
    return LabelSpace(name="few", title="a few classes", classes=classes, exclusive=exclusive)


def pictures(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)


def with_real_statistics(module: nn.Module, image: Tensor) -> None:
    """BatchNorm statistics of `image`: a fresh net's own give outputs of a size that no trained net has."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    module.train()
    with torch.no_grad():
        module(image)
    module.eval()
