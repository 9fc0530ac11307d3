"""An exported model seen as a Segmenter: everything that predicts or scores a run does so with it.

Letters: B batch, K classes, H W pixels, h w at the network's own stride.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segwright.contracts import DataError, Outputs, UserError
from segwright.inference.backends.description import Description
from segwright.inference.backends.plain import PlainModel, check_size
from segwright.inference.backends.sessions import Session
from segwright.models.segmenter import Segmenter, Sizes


class ExportedSegmenter(Segmenter):
    """A graph in a runtime. Pictures are normalised and padded as always, or by the graph where it holds that.

    It predicts and is not trained or saved. where: the file, for messages.
    Raises DataError when the graph and its description contradict each other.
    """

    def __init__(self, session: Session, description: Description, *, where: str) -> None:
        _check(session, description, where)
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
        self._plain = PlainModel(session, description, where=where)
        self._side: SimpleQueue[PlainModel] | None = None

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
        if len(pictures) == 1:
            found = [self._plain.ids(pictures[0], among)]
        else:
            found = self._beside([partial(PlainModel.ids, rgb_HWC=rgb_HWC, among=among) for rgb_HWC in pictures])
        return torch.from_numpy(np.stack(found)).to(image.device)

    def same_beside(self, image: Tensor) -> bool:
        """Whether pictures, uint8 [B, 3, H, W], get the same scores to the last bit side by side as one after the other."""
        pictures = list(image.permute(0, 2, 3, 1).cpu().numpy())
        together = self._beside([partial(PlainModel.scores, rgb_HWC=rgb_HWC) for rgb_HWC in pictures])
        return all(
            np.array_equal(scores, self._plain.scores(rgb_HWC))
            for scores, rgb_HWC in zip(together, pictures, strict=True)
        )

    def _beside(self, works: Sequence[Callable[[PlainModel], NDArray[Any]]]) -> list[NDArray[Any]]:
        """Each work with a model of one thread, as many at a time as torch has threads."""
        if self._side is None:
            sessions = self.session.beside(torch.get_num_threads())
            self._side = SimpleQueue()
            for session in sessions:
                self._side.put(PlainModel(session, self.description, where=self.where))
            self._threads = ThreadPoolExecutor(len(sessions), thread_name_prefix="beside")
        side = self._side

        def one(work: Callable[[PlainModel], NDArray[Any]]) -> NDArray[Any]:
            model = side.get()
            try:
                return work(model)
            finally:
                side.put(model)

        return list(self._threads.map(one, works))

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


def _check(session: Session, description: Description, where: str) -> None:
    wanted = ("ids", "logits") if description.form == "picture" else ("logits",)
    if missing := [name for name in wanted if name not in session.output_shapes]:
        raise DataError(
            f"{where} has no output '{missing[0]}', although it says that it is of the form {description.form}."
        )
    shape, classes = session.output_shapes["logits"], description.labels.num_classes
    if len(shape) != 4 or shape[1] not in (None, classes):
        raise DataError(
            f"{where} gives scores of the shape {list(shape)}, but lists {classes} classes. Export the model again."
        )
    kind = np.dtype("uint8" if description.form == "picture" else "float32")
    if len(session.input_shape) != 4 or session.input_type != kind:
        raise DataError(
            f"{where} takes {session.input_type} {list(session.input_shape)}; expected {kind} of four axes."
        )
