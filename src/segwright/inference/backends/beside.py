"""Several pictures at a time with an exported model: a thread each, which do not wait for each other. No torch.

Letters: H W pixels, C colour, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.inference.backends.plain import Picture, PlainModel


class Beside:
    """Models of one thread each behind one model, made when the first pictures come together.

    threads: how many pictures at a time.
    """

    def __init__(self, model: PlainModel, threads: int) -> None:
        self.model, self.threads = model, threads
        self._free: SimpleQueue[PlainModel] | None = None

    def ids(self, rgb_HWC: Sequence[Picture], among: Sequence[int] | None = None) -> list[Picture]:
        """The best class of every pixel: uint8 [H, W] each. Arguments and errors as for `PlainModel.ids`; a picture alone
        gets all threads."""
        if len(rgb_HWC) == 1:
            return [self.model.ids(rgb_HWC[0], among)]
        return self._each(lambda model, picture: model.ids(picture, among), rgb_HWC)

    def same_scores(self, rgb_HWC: Sequence[Picture]) -> bool:
        """Whether pictures get the same scores to the last bit side by side as one after the other."""
        together = self._each(lambda model, picture: model.scores(picture), rgb_HWC)
        return all(
            np.array_equal(scores, self.model.scores(picture))
            for scores, picture in zip(together, rgb_HWC, strict=True)
        )

    def _each(self, work: Callable[[PlainModel, Picture], NDArray[Any]], pictures: Sequence[Picture]) -> list[Any]:
        if self._free is None:
            self._free = SimpleQueue()
            sessions = self.model.session.beside(self.threads)
            for session in sessions:
                self._free.put(PlainModel(session, self.model.description, where=self.model.where))
            self._pool = ThreadPoolExecutor(len(sessions), thread_name_prefix="beside")
        free = self._free

        def one(picture: Picture) -> NDArray[Any]:
            model = free.get()
            try:
                return work(model, picture)
            finally:
                free.put(model)

        return list(self._pool.map(one, pictures))
