"""The Segmenter: an architecture with its label space, mean and std, and rule for sizes.

It is what is trained, saved and shipped. Callers give plain RGB pictures of any size and get class scores or ids of the
same size.

Letters: B batch, H W pixels, K classes, h w the architecture's own output size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import DataError, Outputs, UserError
from segwright.labels import LabelSpace

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Size = tuple[int, int]
"""Height and width, pixels."""


class Sizes(NamedTuple):
    """The sizes that a picture goes through: as given, at the network's scale, and padded to fit its stride."""

    given: Size
    inner: Size
    padded: Size


class Segmenter(nn.Module):
    """Plain RGB in, class scores or ids out.

    architecture: takes normalised float [B, 3, H, W], returns `Outputs`, and declares its `stride`.
    labels: the classes that the K channels of its output stand for.
    model: `name` and `args` of the architecture in MODELS, with which a saved file is built again; where the
    architecture has `settled_args`, which name no file of this machine, it says those itself.
    mean, std: per channel, in units of 0..1; they live in the model so that no caller can get them wrong.
    short_side: pixels of the shorter side that the network sees; None keeps the picture's size.
    provenance: any plain data on where the weights come from. licence: of the weights.
    temperature: what `forward` divides the scores by, so that probabilities are as often right as they say: one number,
    or one for each class, taken by the best class of a pixel; None for 1. Training and `ids` do not see it.
    Raises UserError for an exclusive space of one class, whose every pixel would be that class.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor | None

    def __init__(
        self,
        architecture: nn.Module,
        *,
        labels: LabelSpace,
        model: Mapping[str, Any],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        short_side: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        licence: str = "not stated",
        temperature: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if labels.exclusive and labels.num_classes == 1:
            raise UserError(
                f"label space '{labels.name}' has one class, so every pixel would be '{labels.class_names[0]}'. "
                "List the background as a second class, or set `exclusive: false` for a yes or no per pixel."
            )
        if len(mean) != 3 or len(std) != 3 or any(not 0 <= m <= 1 for m in mean) or any(not 0 < s <= 1 for s in std):
            raise UserError(
                f"mean {tuple(mean)} and std {tuple(std)} are three numbers each in units of 0..1, std above 0."
            )
        if short_side is not None and short_side < 1:
            raise UserError(f"short_side is {short_side}; allowed are 1 pixel or more, or none to keep the size.")
        self.architecture = architecture
        self.labels = labels
        settled = getattr(architecture, "settled_args", None)
        self.model = dict(model) if settled is None else dict(model) | {"args": dict(settled)}
        self.short_side = short_side
        self.provenance = dict(provenance or {})
        self.licence = licence
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("temperature", None, persistent=False)
        self.set_temperature(temperature)

    def set_temperature(self, values: Sequence[float] | None) -> None:
        """Divide the scores by these from now on; None leaves them as the architecture gives them.

        Raises UserError unless it is one number or one a class, above 0 and finite, and, for one a class, in a
        multi-label space, where a pixel has no best class.
        """
        if values is None:
            self.temperature = None
            return
        allowed = (1, self.num_classes) if self.labels.exclusive else (1,)
        if len(values) not in allowed or not all(math.isfinite(v) and v > 0 for v in values):
            raise UserError(
                f"temperature is {list(values)}; allowed are {' or '.join(map(str, allowed))} finite numbers above 0."
            )
        self.temperature = torch.tensor(list(values), dtype=torch.float32, device=self.mean.device)

    @property
    def num_classes(self) -> int:
        return self.labels.num_classes

    @property
    def stride(self) -> int:
        """Height and width of what the architecture takes are multiples of this."""
        return int(self.architecture.stride)  # type: ignore[arg-type]

    @property
    def min_size(self) -> int:
        """The smallest height and width that the architecture takes."""
        return int(getattr(self.architecture, "min_size", self.stride))

    @property
    def unused(self) -> frozenset[str]:
        """Names of parameters that never get a gradient, which data-parallel training has to know."""
        return frozenset(f"architecture.{name}" for name in self.architecture.unused)  # type: ignore[union-attr]

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 or float [B, 3, H, W] in 0..255, RGB -> float32 with the training pictures' mean 0 and deviation 1."""
        scale = 1 / (255 * self.std.float())
        return torch.addcmul(-255 * self.mean.float() * scale, image.float(), scale)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of every class at every pixel.

        image: uint8, or float in 0..255, [B, 3, H, W], RGB, of any size from 1×1, B ≥ 1. The shorter side is resized to
        `short_side` where that is set (bilinear, antialiased when it shrinks); right and bottom are padded with the
        mean colour. Returns float32 logits [B, K, H, W], also under autocast, divided by the model's temperature.
        Raises UserError for another shape or type.
        Exports with dynamic sizes (`torch.export`, Dim.AUTO) from an example whose sides are larger than `stride` and
        no multiples of it: from others torch leaves the padding out.
        """
        logits, sizes = self._network(image)
        return self._calibrated(_to_picture(logits, sizes))

    def outputs(self, image: Tensor) -> Outputs:
        """What the architecture returns, at its own stride: for losses.

        image: uint8 or float in 0..255, [B, 3, H, W] with H and W multiples of `stride`, at the network's scale:
        `short_side` plays no part. Raises UserError that names the nearest size for any other.
        """
        self._check(image)
        height, width = image.shape[-2:]
        if height % self.stride or width % self.stride or min(height, width) < self.min_size:
            near = [max(self.min_size, round(side / self.stride) * self.stride) for side in (height, width)]
            raise UserError(
                f"pictures of {height}×{width} do not fit {self._name}, which trains on heights and widths that are "
                f"multiples of {self.stride} and at least {self.min_size}: the nearest size is {near[0]}×{near[1]}."
            )
        found: Outputs = self.architecture(self._cast(self.normalise(image)))
        return found

    @torch.no_grad()
    def ids(self, image: Tensor, among: Sequence[int] | None = None) -> Tensor:
        """The best class of every pixel: uint8 [B, H, W], equal to `forward(image).argmax(1)`.

        Keeps a running maximum over the classes, one full-size plane at a time: the full-size scores of all classes
        never exist together. Of exactly equal scores the first class wins. The temperature takes no part: it leaves the
        best class the best, but for scores that differ in their last digit. image: as for `forward`.
        among: the classes to choose from, ascending; None for all.
        Raises UserError in a multi-label space, where a pixel has no best class; DataError where a score is NaN.
        """
        if not self.labels.exclusive:
            raise UserError(
                f"label space '{self.labels.name}' is multi-label: a pixel has no single class. "
                "Use forward(image).sigmoid()."
            )
        logits, sizes = self._network(image)
        logits = logits.contiguous()
        first, *others = range(logits.shape[1]) if among is None else among
        best = _to_picture(logits[:, first : first + 1], sizes)[:, 0].clone()
        ids = torch.full_like(best, first, dtype=torch.uint8)
        for index in others:
            score = _to_picture(logits[:, index : index + 1], sizes)[:, 0]
            higher = (score > best).view(torch.uint8)
            torch.maximum(ids, higher.mul_(index), out=ids)  # classes ascend: the later one is the larger number
            torch.maximum(best, score, out=best)
        if bool(best.isnan().any()):  # the maximum of anything and NaN is NaN
            raise no_numbers(best, self._name)
        return ids

    @property
    def _name(self) -> str:
        return str(self.model.get("name", type(self.architecture).__name__))

    def _network(self, image: Tensor) -> tuple[Tensor, Sizes]:
        self._check(image)
        sizes = self.sizes(image.shape[-2], image.shape[-1])
        picture = image
        if self.short_side is not None and sizes.inner != sizes.given:
            shrinks = self.short_side < min(sizes.given)
            picture = F.interpolate(
                image.float(), size=sizes.inner, mode="bilinear", align_corners=False, antialias=shrinks
            )
        normal = self.normalise(picture)
        pad = (0, sizes.padded[1] - sizes.inner[1], 0, sizes.padded[0] - sizes.inner[0])
        logits = self.architecture(self._cast(F.pad(normal, pad))).logits_BKhw
        if logits.shape[1] != self.num_classes:
            raise UserError(
                f"{self._name} gives {logits.shape[1]} scores a pixel, but label space '{self.labels.name}' has "
                f"{self.num_classes} classes. Build the architecture for {self.num_classes} classes."
            )
        return logits, sizes

    def sizes(self, height: int, width: int) -> Sizes:
        """What becomes of a picture of this height and width, pixels."""
        inner = (height, width)
        if self.short_side is not None:
            factor = self.short_side / min(height, width)
            inner = (max(1, round(height * factor)), max(1, round(width * factor)))
        padded = tuple(max(self.min_size, -(-side // self.stride) * self.stride) for side in inner)
        return Sizes((height, width), inner, (padded[0], padded[1]))

    def _calibrated(self, logits_BKHW: Tensor) -> Tensor:
        if self.temperature is None:
            return logits_BKHW
        temperature = self.temperature.float()
        return logits_BKHW / (
            temperature if len(temperature) == 1 else temperature[logits_BKHW.argmax(1, keepdim=True)]
        )

    def _cast(self, normal: Tensor) -> Tensor:
        """The type of the weights, for a model that was converted as a whole."""
        return normal.to(next((p.dtype for p in self.architecture.parameters()), normal.dtype))

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < 1:
            raise UserError(
                f"a picture tensor has the shape {list(image.shape)}: expected [B, 3, H, W] in RGB order, "
                "such as [1, 3, 360, 480]."
            )
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise UserError(
                f"a picture tensor has the type {image.dtype}: expected torch.uint8, or a float type in 0..255."
            )


def _to_picture(logits: Tensor, sizes: Sizes) -> Tensor:
    """Logits at the architecture's own stride -> float32 at the size of the given picture."""
    padded = _resize(logits.float(), sizes.padded)
    return _resize(padded[..., : sizes.inner[0], : sizes.inner[1]], sizes.given)


def _resize(logits: Tensor, size: Size) -> Tensor:
    if tuple(logits.shape[-2:]) == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def no_numbers(best: Tensor, source: str) -> DataError:
    """What to say of pixels whose best score is NaN. source: the model or picture."""
    share = float(best.isnan().float().mean())
    return DataError(
        f"{source}: the scores of {share:.1%} of the pixels are no numbers (NaN). The weights are damaged, or the precision "
        "is too small for them: use fp32, an earlier checkpoint, or convert the weights again."
    )


def likeliest(scores_BKHW: Tensor, among: Sequence[int] | None, source: str) -> Tensor:
    """The best class of every pixel, of all or of those in `among`: uint8 [B, H, W]. Scores or probabilities will do.

    source: the model, for messages. Raises DataError where a best score is NaN.
    """
    best = (scores_BKHW if among is None else scores_BKHW[:, list(among)]).max(1)
    if bool(best.values.isnan().any()):
        raise no_numbers(best.values, source)
    if among is None:
        return best.indices.to(torch.uint8)
    return torch.tensor(list(among), dtype=torch.uint8, device=scores_BKHW.device)[best.indices]
