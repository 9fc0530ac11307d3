"""An exported model seen as a Segmenter: everything that predicts or scores a run does so with it.

Letters: B batch, K classes, H W pixels, h w at the network's own stride.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from segwright.contracts import DataError, Outputs, UserError
from segwright.inference.backends.beside import Beside
from segwright.inference.backends.description import Description
from segwright.inference.backends.plain import PlainModel, check_graph, check_size
from segwright.inference.backends.sessions import Session
from segwright.models.segmenter import Segmenter, Sizes


class ExportedSegmenter(Segmenter):
    """A graph in a runtime. Pictures are normalised and padded as always, or by the graph where it holds that.

    It predicts and is not trained or saved. where: the file, for messages.
    Raises DataError when the graph and its description contradict each other.
    """

    def __init__(self, session: Session, description: Description, *, where: str) -> None:
        check_graph(session, description, where)
        try:
            super().__init__(
                _Graph(session, description),
                labels=description.labels,
                model={"name": description.model, "args": {}},
                mean=description.mean,
                std=description.std,
                short_side=description.short_side,
                provenance=description.provenance,
                licence=description.licence,
                temperature=description.temperature,
            )
        except UserError as error:
            raise DataError(f"{where}: its description of the model cannot be used ({error}).") from None
        self.session, self.description, self.where = session, description, where
        self._models = Beside(PlainModel(session, description, where=where), torch.get_num_threads())

    def outputs(self, image: Tensor) -> Outputs:
        """Raises UserError: an exported model is not trained."""
        raise UserError(
            f"{self.where} is an exported model, which predicts and cannot be trained. Train the run it is of."
        )

    @torch.no_grad()
    def ids(self, image: Tensor, among: Sequence[int] | None = None) -> Tensor:
        """The best class of every pixel: uint8 [B, H, W]. Arguments as for Segmenter."""
        self._check(image)
        if image.dtype != torch.uint8 or not self.labels.exclusive:
            return super().ids(image, among)
        pictures = list(image.permute(0, 2, 3, 1).cpu().numpy())
        found = self._models.ids(pictures, among)
        return torch.from_numpy(np.stack(found)).to(image.device)

    def _network(self, image: Tensor) -> tuple[Tensor, Sizes]:
        if self.description.form != "picture":
            padded = self.sizes(image.shape[-2], image.shape[-1]).padded
            check_size(self.description, padded, "pad to", self.where)
            return super()._network(image)
        self._check(image)
        if image.dtype != torch.uint8:
            raise UserError(f"{self.where} takes uint8 pictures alone; found {image.dtype}.")
        given = (image.shape[-2], image.shape[-1])
        check_size(self.description, given, "are", self.where)
        array = np.ascontiguousarray(image.permute(0, 2, 3, 1).cpu().numpy())
        (logits,) = self.session.run(array, ["logits"])
        return torch.tensor(logits, device=image.device), self.sizes(*given)


class _Graph(nn.Module):
    """The runtime where a Segmenter has its architecture: normalised float32 [B, 3, H, W] -> logits [B, K, h, w]."""

    def __init__(self, session: Session, description: Description) -> None:
        super().__init__()
        self.session = session
        self.stride, self.min_size = description.stride, description.min_size
        self.unused: frozenset[str] = frozenset()

    def forward(self, image: Tensor) -> Outputs:
        array = np.ascontiguousarray(image.detach().float().cpu().numpy())
        (logits,) = self.session.run(array, ["logits"])
        return Outputs(torch.tensor(logits, device=image.device))
