"""Predicting a user's pictures in memory: class ids, and how sure the model is of them.

Letters: B batch, H W pixels, K classes, h rows of a part of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.build import pick_device
from segwright.contracts import IGNORE, UserError
from segwright.inference.maps import DEPTHS, SURENESS, Maps, check_pictures
from segwright.inference.running import FORMATS, as_image, check_mode, computing
from segwright.inference.tiling import probability_bands
from segwright.labels import LabelSpace
from segwright.models.converted import Converted
from segwright.models.segmenter import no_numbers

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter


class Predictor:
    """A segmenter ready to predict: moved to the device, in evaluation mode, in the wanted precision.

    device: `auto`, `cpu`, `cuda`, ... precision: fp32, bf16 or fp16. memory_format: contiguous or channels_last.
    abstain_below: pixels of less confidence (the largest class probability, 0..1) get no class but IGNORE; this takes the
    memory of one picture's scores.
    The segmenter itself is moved and switched, not a copy.
    Raises UserError for a multi-label space, and for abstaining in another label space than the model's.
    """

    def __init__(
        self,
        segmenter: Segmenter | Converted,
        *,
        device: str = "auto",
        precision: str = "fp32",
        memory_format: str = "contiguous",
        abstain_below: float | None = None,
    ) -> None:
        check_mode(precision, memory_format)
        if abstain_below is not None:
            if not 0 < abstain_below <= 1:
                raise UserError(
                    f"abstain_below is {abstain_below}; allowed are confidences above 0 and up to 1, such as 0.6."
                )
            check_sureness(segmenter, "abstaining")
        if not segmenter.labels.exclusive:
            raise UserError(
                f"label space '{segmenter.labels.name}' is multi-label; only exclusive spaces can be drawn."
            )
        self.device = pick_device(device)
        self.precision = precision
        self.memory_format = memory_format
        self.abstain_below = abstain_below
        self.segmenter = segmenter.to(self.device).to(memory_format=FORMATS[memory_format]).eval()

    @property
    def labels(self) -> LabelSpace:
        return self.segmenter.labels

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] in RGB order, any size from 1×1 -> uint8 [H, W] class ids, 0..K-1, or IGNORE where it abstains.

        Raises DataError for another dtype or shape.
        """
        return self.maps([image])[0].ids

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [H, W, 3] in RGB order -> class probabilities, float32 [K, H, W], 0..1, with the sum 1 at each pixel.

        Raises DataError for another dtype or shape, UserError in another label space than the model's.
        """
        found = self.maps([image], ["probabilities"])[0].probabilities
        return np.asarray(found, np.float32)

    def check_kinds(self, kinds: Collection[str]) -> None:
        """Raises UserError for unknown kinds, and for any in another label space than the model's."""
        if unknown := [kind for kind in kinds if kind not in SURENESS]:
            raise UserError(f"kinds holds {unknown[0]!r}; allowed are {', '.join(SURENESS)}.")
        if kinds:
            check_sureness(self.segmenter, next(iter(kinds)))

    def maps(
        self, images: Sequence[NDArray[np.uint8]], kinds: Collection[str] = (), *, depth: str = "fp32"
    ) -> list[Maps]:
        """Predict pictures of one size together: ids always, and those of `probabilities`, `confidence`, `entropy` in `kinds`.

        images: uint8 [H, W, 3] each, RGB. depth: of probabilities: fp32, fp16 or uint8.
        A picture gets the same ids as alone, up to pixels whose best two scores differ in their last digits: convolutions
        add in another order. No picture gives no maps.
        Raises DataError for another dtype or shape, UserError for wrong kinds and in another label space than the model's.
        """
        self.check_kinds(kinds)
        if depth not in DEPTHS:
            raise UserError(f"depth is {depth!r}; allowed are {', '.join(DEPTHS)}.")
        if not images:
            return []
        check_pictures(images)
        with computing(self.device, self.precision):
            pictures = torch.cat([as_image(image, self.device, self.memory_format) for image in images])
            if not kinds and self.abstain_below is None:
                return [Maps(ids=_array(ids_HW)) for ids_HW in self.segmenter.ids(pictures)]
            return self._sure_maps(pictures, kinds, depth)

    def same_together(self, images: Sequence[NDArray[np.uint8]]) -> bool:
        """Whether pictures, as for `maps`, get the same scores to the last bit together as one by one."""
        with computing(self.device, self.precision):
            pictures = [as_image(image, self.device, self.memory_format) for image in images]
            together_BKHW = self.segmenter(torch.cat(pictures))
            return all(
                torch.equal(self.segmenter(picture)[0], scores_KHW)
                for picture, scores_KHW in zip(pictures, together_BKHW, strict=True)
            )

    def _sure_maps(self, image: Tensor, kinds: Collection[str], depth: str) -> list[Maps]:
        (count, _, height, width), classes = image.shape, self.labels.num_classes
        ids = np.empty((count, height, width), np.uint8)
        confidence, entropy = (
            np.empty((count, height, width), np.float32) if k in kinds else None for k in ("confidence", "entropy")
        )
        probabilities = np.empty((count, classes, height, width), DEPTHS[depth]) if "probabilities" in kinds else None
        for top, probs_BKhW in probability_bands(self.segmenter, image):  # type: ignore[arg-type]
            rows = slice(top, top + probs_BKhW.shape[2])
            best = probs_BKhW.max(1)
            if bool(best.values.isnan().any()):
                raise no_numbers(best.values, "the model")
            found = best.indices.to(torch.uint8)
            if self.abstain_below is not None:
                found[best.values < self.abstain_below] = IGNORE
            ids[:, rows] = _array(found)
            if confidence is not None:
                confidence[:, rows] = _array(best.values)
            if entropy is not None:
                entropy[:, rows] = _array(torch.special.entr(probs_BKhW).sum(1).div_(math.log(classes)).clamp_(0, 1))
            if probabilities is not None:
                stored = (probs_BKhW * 255).round_() if depth == "uint8" else probs_BKhW
                probabilities[:, :, rows] = _array(stored)
        return [
            Maps(
                ids=ids[n],
                confidence=None if confidence is None else confidence[n],
                entropy=None if entropy is None else entropy[n],
                probabilities=None if probabilities is None else probabilities[n],
            )
            for n in range(count)
        ]


def check_sureness(segmenter: Segmenter | Converted, what: str) -> None:
    """Raises UserError where the model is seen in another label space. what: needs probabilities, for the message."""
    if isinstance(segmenter, Converted):
        raise UserError(
            f"the model is confident of its own classes, not of those of label space '{segmenter.labels.name}'. Leave out "
            f"either the label space or {what}."
        )


def _array(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy()
