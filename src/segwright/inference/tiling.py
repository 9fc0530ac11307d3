"""Sliding windows: large pictures piece by piece, with the memory of one row of windows.

Letters: B batch, C colour, H W pixels, K classes, h w pixels of a window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segwright.contracts import UserError
from segwright.inference.wrapping import Wrapping
from segwright.models.segmenter import Segmenter, likeliest

ROWS = 64
"""Rows of a whole picture whose probabilities exist at once."""
NARROW = 8
"""How many standard deviations of the weights fit into a window: at its edges they are 0.0003 of the middle."""
_SIZE = re.compile(r"(\d+)(?:[x×](\d+))?")


@dataclass(frozen=True)
class Window:
    """Size of a sliding window in pixels, and the share of it, 0 to 0.9, that the next one covers again at least."""

    height: int
    width: int
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise UserError(f"a window of {self.height}×{self.width} holds no pixel; allowed are sides of 1 or more.")
        if not 0 <= self.overlap <= 0.9:
            raise UserError(
                f"--overlap is {self.overlap}; allowed are shares of the window from 0 to 0.9, such as 0.5."
            )

    def __str__(self) -> str:
        return f"windows of {self.height}×{self.width}, overlap {self.overlap:g}"

    def covers(self, height: int, width: int) -> bool:
        """Whether one window holds a picture of this size."""
        return height <= self.height and width <= self.width


def parse_window(text: str, overlap: float = 0.5) -> Window:
    """`512x1024` (height × width) or `512` (square). Raises UserError for other texts."""
    found = _SIZE.fullmatch(text.lower())
    if found is None:
        raise UserError(f"--window {text}: expected HEIGHTxWIDTH in pixels, such as 512x1024, or one number for both.")
    return Window(int(found[1]), int(found[2] or found[1]), overlap)


class Tiled(Wrapping):
    """Predicts with windows that slide over the picture, each predicted as a picture of its own.

    A pixel's probabilities are the mean of those that the windows over it give, weighted by a Gaussian around the middle of
    each window, as edges lack context. Windows begin at multiples of the network's stride. A picture that one window
    covers is predicted as without windows. A model that resizes to a short side resizes every window so.
    `ids` and `bands` hold, beside what one window takes, float32 sums of K × window height × picture width;
    `forward` gives the scores of the whole picture and takes their memory.
    It predicts and is not trained or saved. Raises UserError for a multi-label space, and for a window smaller than the stride.
    """

    def __init__(self, segmenter: Segmenter, window: Window) -> None:
        super().__init__(segmenter, "--window", str(window))
        if min(window.height, window.width) < segmenter.stride:
            raise UserError(
                f"--window {window.height}x{window.width} is smaller than the stride of the network, {segmenter.stride} "
                "pixels. Take a larger one; the size that it was trained on suits best."
            )
        self.window = window

    def forward(self, image: Tensor) -> Tensor:
        """Scores whose softmax are the weighted mean probabilities: float32 [B, K, H, W]. image: as for Segmenter."""
        if self.window.covers(image.shape[-2], image.shape[-1]):
            whole: Tensor = self.architecture(image)
            return whole
        scores = torch.empty((len(image), self.num_classes, *image.shape[-2:]), device=image.device)
        for top, probs_BKhW in self.bands(image):
            torch.log(
                probs_BKhW.clamp_min_(torch.finfo(torch.float32).tiny),
                out=scores[:, :, top : top + probs_BKhW.shape[2]],
            )
        return scores

    @torch.no_grad()
    def ids(self, image: Tensor, among: Sequence[int] | None = None) -> Tensor:
        """The class of every pixel with the highest mean probability: uint8 [B, H, W]. Arguments as for Segmenter."""
        if self.window.covers(image.shape[-2], image.shape[-1]):
            covered: Tensor = self.architecture.ids(image, among)  # type: ignore[operator]
            return covered
        found = torch.empty((len(image), *image.shape[-2:]), dtype=torch.uint8, device=image.device)
        for top, probs_BKhW in self.bands(image):
            found[:, top : top + probs_BKhW.shape[2]] = likeliest(probs_BKhW, among, self._name)
        return found

    def bands(self, image: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(first row, probabilities float32 [B, K, h, W]) of the picture, from top to bottom; each is gone with the next."""
        height, width = image.shape[-2:]
        if self.window.covers(height, width):
            yield from probability_bands(self.architecture, image)  # type: ignore[arg-type]
            return
        tops = starts(height, self.window.height, self.window.overlap, self.stride)
        lefts = starts(width, self.window.width, self.window.overlap, self.stride)
        weight_h, weight_w = (gaussian(n).to(image.device) for n in (self.window.height, self.window.width))
        across_W = _added(lefts, weight_w, width)
        down_H = _added(tops, weight_h, height)
        rows = min(self.window.height, height)
        sums = torch.zeros((len(image), self.num_classes, rows, width), device=image.device)
        for top, following in zip(tops, [*tops[1:], height], strict=True):
            for left in lefts:
                piece = image[..., top : top + self.window.height, left : left + self.window.width]
                probs = self.architecture(piece).softmax(1)
                h, w = probs.shape[-2:]
                probs *= weight_h[:h, None] * weight_w[:w]
                sums[..., :h, left : left + w] += probs
            ready = following - top
            finished = sums[:, :, :ready]
            finished /= down_H[top:following, None] * across_W
            yield top, finished
            _move_up(sums, ready)


def probability_bands(segmenter: Segmenter, image: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, probabilities float32 [B, K, h, W]) of the picture, from top to bottom; each is gone with the next.

    image: as for Segmenter. With windows the memory of one row of them is enough, else the scores of the whole picture exist.
    """
    if isinstance(segmenter, Tiled) and not segmenter.window.covers(image.shape[-2], image.shape[-1]):
        yield from segmenter.bands(image)
        return
    logits_BKHW = segmenter(image)
    for top in range(0, logits_BKHW.shape[2], ROWS):
        yield top, logits_BKHW[:, :, top : top + ROWS].softmax(1)


def starts(length: int, window: int, overlap: float, stride: int) -> list[int]:
    """Where windows begin along a side, ascending, so that they cover all of it; multiples of `stride`."""
    if length <= window:
        return [0]
    last = -(-(length - window) // stride) * stride
    step = max(stride, int(window * (1 - overlap)) // stride * stride)
    return [*range(0, last, step), last]


def gaussian(length: int) -> Tensor:
    """Weights along one side of a window, float32 [length], highest in the middle."""
    places = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
    return torch.exp(-0.5 * (places * NARROW / length) ** 2)


def _added(begins: Sequence[int], weight: Tensor, length: int) -> Tensor:
    """The weights of all windows along a side, added: float32 [length]."""
    total = torch.zeros(length, device=weight.device)
    for begin in begins:
        part = total[begin : begin + len(weight)]
        part += weight[: len(part)]
    return total


def _move_up(sums: Tensor, rows: int) -> None:
    """The first rows are done: the others move to their place, and zeros come in below. In place, with no copy of all."""
    height = sums.shape[2]
    for top in range(0, height - rows, rows):
        part = sums[:, :, top + rows : top + 2 * rows]
        sums[:, :, top : top + part.shape[2]] = part
    sums[:, :, max(0, height - rows) :] = 0
