"""What all segmenters share that predict with something around another one: windows, views, a CRF."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from segwright.contracts import Outputs, UserError
from segwright.models.segmenter import Segmenter


class Wrapping(Segmenter):
    """Stands for another segmenter, which is its `architecture`; it predicts and is not trained or saved.

    option: that asks for it, such as `--tta`; its name goes into the provenance, with `about`.
    Raises UserError for a multi-label space.
    """

    def __init__(self, segmenter: Segmenter, option: str, about: Any) -> None:
        if not segmenter.labels.exclusive:
            raise UserError(
                f"label space '{segmenter.labels.name}' is multi-label; {option} needs one class a pixel. Leave it out."
            )
        super().__init__(
            segmenter,
            labels=segmenter.labels,
            model=segmenter.model,
            short_side=segmenter.short_side,
            provenance=segmenter.provenance | {option.removeprefix("--"): about},
            licence=segmenter.licence,
        )
        self.option = option

    def outputs(self, image: Tensor) -> Outputs:
        """Raises UserError: what is around a model is for prediction."""
        raise UserError(f"a model with {self.option} predicts and cannot be trained; train the model itself.")
