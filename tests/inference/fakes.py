"""A segmenter that reads its answer from the red channel, and a data set in memory: predictions known to the pixel."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from segwright.contracts import IGNORE, Sample
from segwright.labels import LabelClass, LabelSpace

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 40), (0, 0, 0)]


def space_of(names: Sequence[str]) -> LabelSpace:
    classes = tuple(LabelClass(name=name, values=(i,), color=COLORS[i % len(COLORS)]) for i, name in enumerate(names))
    return LabelSpace(name="fake", title="Fake", classes=classes)


class RedSegmenter(nn.Module):
    """Predicts class `red % K`. Records what it was given."""

    def __init__(self, names: Sequence[str] = ("road", "car", "sky")) -> None:
        super().__init__()
        self.labels = space_of(names)
        self.provenance: dict[str, object] = {}
        self.num_classes = len(names)
        self.norm = nn.BatchNorm2d(3)
        self.frozen = nn.BatchNorm2d(3).eval()
        self.seen: list[Tensor] = []
        self.autocast: list[bool] = []
        self.most_alive = 0
        self._logits: list[weakref.ref[Tensor]] = []
        self.before: Callable[[], None] = lambda: None

    def forward(self, image_BCHW: Tensor) -> Tensor:
        self._logits = [r for r in self._logits if r() is not None]
        self.most_alive = max(self.most_alive, len(self._logits) + 1)
        logits = F.one_hot(self.ids(image_BCHW).long(), self.num_classes).movedim(-1, 1).float() * 4
        logits = logits + 0 * self.norm.weight.sum()
        self._logits.append(weakref.ref(logits))
        return logits

    def ids(self, image_BCHW: Tensor) -> Tensor:
        self.before()
        assert image_BCHW.dtype == torch.uint8
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen.append(image_BCHW)
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        return image_BCHW[:, 0] % self.num_classes


class Unsure(RedSegmenter):
    """As RedSegmenter, and the surer the redder: the best score is red / 32, the others are 0."""

    def forward(self, image_BCHW: Tensor) -> Tensor:
        best = F.one_hot(self.ids(image_BCHW).long(), self.num_classes).movedim(-1, 1)
        return best * image_BCHW[:, :1] / 32


@dataclass
class Pictures:
    """A Dataset of samples in memory. before: called with the index when a sample is read."""

    samples: list[Sample]
    before: Callable[[int], None] = field(default=lambda index: None)

    @property
    def names(self) -> list[str]:
        return [s.name for s in self.samples]

    @property
    def groups(self) -> list[str]:
        return [s.name[0] for s in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        self.before(index)
        return self.samples[index]


def random_rgb(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def random_sample(
    name: str, height: int, width: int, *, num_classes: int = 3, void: float = 0.2, seed: int = 0
) -> Sample:
    rng = np.random.default_rng([seed, height, width])
    labels = rng.integers(0, num_classes, (height, width)).astype(np.uint8)
    labels[rng.random(labels.shape) < void] = IGNORE
    return Sample(name=name, planes={"rgb": random_rgb(height, width, seed)}, labels=labels)


def three_pictures() -> Pictures:
    sizes = {"a1": (8, 12), "a2": (5, 7), "b1": (16, 4)}
    return Pictures([random_sample(n, *size, seed=i) for i, (n, size) in enumerate(sizes.items())])
