"""A segmenter seen in another label space: what scores a model in a space that it was not trained in.

Letters: B batch, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.labels import LabelSpace
from segwright.labels.mapping import LabelMap
from segwright.models.segmenter import Segmenter


class Converted(nn.Module):
    """A Segmenter whose classes are told in the target space of a map.

    The class of a pixel is the model's best class, converted. Classes that the target space lacks take no part in the
    choice, so the model answers with its best class that the target has.
    Raises UserError when a class of the model may be several of the target's (then nothing says which), or when the map
    does not begin in the model's space.
    """

    table: Tensor

    def __init__(self, segmenter: Segmenter, map: LabelMap) -> None:
        super().__init__()
        if map.source.class_names != segmenter.labels.class_names:
            raise UserError(
                f"the map begins in label space '{map.source.name}', the model predicts '{segmenter.labels.name}'."
            )
        if map.coarse:
            name, several = next(iter(map.coarse.items()))
            raise UserError(
                f"predictions in '{map.source.name}' cannot be told in '{map.target.name}': '{name}' may be "
                f"{' or '.join(several)}. Score in a space that is as coarse as '{map.source.name}', or coarser."
            )
        self.segmenter, self.map = segmenter, map
        self.among = [k for k, row in enumerate(map.matrix_LK) if row.any()]
        self.register_buffer("table", torch.from_numpy(map.table().copy()), persistent=False)

    @property
    def labels(self) -> LabelSpace:
        return self.map.target

    @property
    def num_classes(self) -> int:
        return self.labels.num_classes

    def ids(self, image: Tensor) -> Tensor:
        """The class of every pixel in the target space: uint8 [B, H, W]. image: as for Segmenter."""
        return self.table[self.segmenter.ids(image, among=self.among).int()]


def in_space(segmenter: Segmenter, map: LabelMap | None) -> Segmenter | Converted:
    """The segmenter itself where there is nothing to convert."""
    return segmenter if map is None or map.source.class_names == map.target.class_names else Converted(segmenter, map)
