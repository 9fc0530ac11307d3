"""What is predicted of a picture, as arrays. Nothing here needs torch.

Letters: H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError
from segwright.labels import LabelSpace

SURENESS = ("probabilities", "confidence", "entropy")
"""What `Predictor.maps` gives beside the ids."""
DEPTHS = {"fp32": np.float32, "fp16": np.float16, "uint8": np.uint8}


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What was predicted of one picture; None for what was not asked for.

    ids: uint8 [H, W], class ids 0..K-1, or IGNORE where the predictor abstains.
    confidence: float32 [H, W], the largest class probability, 0..1.
    entropy: float32 [H, W], of the class probabilities, in units of that of K equal ones: 0 sure, 1 knows nothing.
    probabilities: [K, H, W], 0..1 as float32 or float16 (off by 1/4096 at most), or uint8, 255 for 1 (off by 1/510 at most).
    """

    ids: NDArray[np.uint8]
    confidence: NDArray[np.float32] | None = None
    entropy: NDArray[np.float32] | None = None
    probabilities: NDArray[Any] | None = None


class Predicts(Protocol):
    """What turns pictures into maps: `Predictor`, or `IdsPredictor` for exported files."""

    device: str

    @property
    def labels(self) -> LabelSpace: ...

    def check_kinds(self, kinds: Collection[str]) -> None:
        """Raises UserError for kinds that it does not give."""
        ...

    def maps(
        self, images: Sequence[NDArray[np.uint8]], kinds: Collection[str] = (), *, depth: str = "fp32"
    ) -> list[Maps]:
        """As `Predictor.maps`."""
        ...

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `Predictor.predict`."""
        ...

    def same_together(self, images: Sequence[NDArray[np.uint8]]) -> bool:
        """As `Predictor.same_together`."""
        ...


def check_pictures(images: Sequence[NDArray[np.uint8]]) -> None:
    """Raises DataError unless all are uint8 [H, W, 3] and of one size."""
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise DataError(
                f"a picture to predict is uint8 [H, W, 3] in RGB order; found {image.dtype} {list(image.shape)}. "
                "Convert it (16-bit and float to 0..255, grey to three channels), or read the file with `read_image`."
            )
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise DataError(f"pictures that are predicted together have one size; found {sorted(sizes)}.")
