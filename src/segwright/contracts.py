"""What crosses folders: samples, batches, model outputs, data sets, and the errors that users see.

Letters: B batch, C colour, H W pixels, K classes, h w reduced sizes, Q queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

IGNORE = 255
"""The label of a pixel that counts nowhere: not in the loss, not in a score."""


class SegwrightError(Exception):
    """A problem that the user can solve. The message says where, what was found, what is allowed, what to do."""

    exit_code = 1


class UserError(SegwrightError):
    """A wrong command, recipe, name or path."""

    exit_code = 2


class DataError(SegwrightError):
    """A picture, mask or file whose content is wrong."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One labelled picture at its original size, decoded and checked, never transformed.

    planes: `rgb` is uint8 [H, W, 3], 0..255, in RGB order.
    labels: uint8 [H, W], class ids 0..K-1 or IGNORE (bool [K, H, W] in a multi-label space); None where there is no mask.
    Where data sets with different label spaces are mixed, ids from K on stand for sets of classes (`data.mixing`).
    instances: int32 [H, W], or None where the data set has none.
    """

    name: str
    planes: Mapping[str, NDArray[np.uint8]]
    labels: NDArray[np.uint8] | None
    instances: NDArray[np.int32] | None = None
    weight: float = 1.0

    @property
    def rgb(self) -> NDArray[np.uint8]:
        return self.planes["rgb"]


class Dataset(Protocol):
    """Samples of one split in a fixed order. Reading sample i twice gives the same pixels."""

    @property
    def names(self) -> Sequence[str]:
        """One unique name a sample, in order."""
        ...

    @property
    def groups(self) -> Sequence[str]:
        """The city or sequence that each sample comes from: pictures of one group are not independent."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(kw_only=True)
class Batch:
    """Samples of one size, stacked.

    image: uint8 [B, C, H, W] in RGB order, until the Segmenter normalises it.
    labels: int64 [B, H, W], 0..K-1 or IGNORE; K..L-1 where a membership says which classes these stand for.
    weights: float32 [B], of each sample in the loss; always on the processor, where all 1 is told without waiting.
    membership_LK: bool [L, K], row y: the classes that label y may be, one for y < K; None when every label is a class.
    """

    image: Tensor
    labels: Tensor
    names: tuple[str, ...]
    weights: Tensor
    index: int = field(default=0)
    """Position of the batch in its epoch."""
    membership_LK: Tensor | None = None
    known_labelled: bool | None = None
    """`labelled`, where it was looked up ahead of time."""

    @property
    def labelled(self) -> bool:
        """Whether any pixel has a label. Where that was not looked up, a device is waited for."""
        return bool((self.labels != IGNORE).any()) if self.known_labelled is None else self.known_labelled

    def to(self, device: str) -> Batch:
        if device == "cpu":
            return self
        return replace(
            self,
            image=self.image.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            known_labelled=self.labelled,
            membership_LK=None if self.membership_LK is None else self.membership_LK.to(device, non_blocking=True),
        )


class Queries(NamedTuple):
    """What one layer of a mask-classification decoder says: a class and a mask from every query.

    class_BQK1: float, unnormalised scores of the K classes and, last, of "no object".
    mask_BQhw: float, unnormalised: its sigmoid is the mask.
    """

    class_BQK1: Tensor
    mask_BQhw: Tensor


class Outputs(NamedTuple):
    """What every architecture returns, in training and in evaluation.

    logits_BKhw: float, unnormalised, at the architecture's own stride.
    auxiliary: further logits of the same kind from deep-supervision heads; empty in evaluation.
    queries: None, or those of a mask-classification decoder, one entry a layer, the last layer last; in evaluation the
    last layer alone. Its logits_BKhw are made of them.
    """

    logits_BKhw: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    queries: tuple[Queries, ...] | None = None
