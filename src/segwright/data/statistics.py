"""What a data set is made of, in one pass: sizes, colours, class pixels; and class weights from them.

Letters: K classes, C colours.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, Dataset, Sample, UserError
from segwright.data.pairs import refuse_unreadable
from segwright.labels import LabelSpace

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_EXACT = 1 << 24  # OpenCV counts in float32, exact up to this many pixels


class Tally:
    """Counts over samples; memory does not grow with their number.

    sizes: (H, W) -> pictures. histogram_C256: int64 [3, 256], pixels of each 8-bit value, RGB.
    class_pixels_K, class_images_K: int64 [K], pixels of each class and pictures that show it.
    class_image_pixels_K: int64 [K], all pixels of those pictures together. ignored: pixels that count nowhere.
    """

    def __init__(self, num_classes: int) -> None:
        self.pictures = 0
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.histogram_C256 = np.zeros((3, 256), np.int64)
        self.class_pixels_K = np.zeros(num_classes, np.int64)
        self.class_images_K = np.zeros(num_classes, np.int64)
        self.class_image_pixels_K = np.zeros(num_classes, np.int64)
        self.ignored = 0

    def add(self, sample: Sample) -> None:
        """Count one sample. Raises DataError for labels outside 0..K-1 and IGNORE, or a sample without labels."""
        if sample.labels is None:
            raise DataError(f"{sample.name}: the sample has no mask. Add one, or take the picture out of the split.")
        self.pictures += 1
        self.sizes[sample.rgb.shape[:2]] += 1
        self.histogram_C256 += channel_histograms(sample.rgb)
        if sample.labels.ndim == 3:  # multi-label: one bool map a class
            pixels_K: NDArray[np.int64] = sample.labels.sum((1, 2), dtype=np.int64)
        else:
            pixels_K = self._count(sample.name, sample.labels)
        self.class_pixels_K += pixels_K
        self.class_images_K += pixels_K > 0
        self.class_image_pixels_K += (pixels_K > 0) * (sample.rgb.shape[0] * sample.rgb.shape[1])

    def _count(self, name: str, labels: NDArray[np.uint8]) -> NDArray[np.int64]:
        count = np.bincount(labels.ravel(), minlength=256)
        num_classes = len(self.class_pixels_K)
        wrong = [v for v in np.flatnonzero(count[num_classes:]) + num_classes if v != IGNORE]
        if wrong:
            raise DataError(
                f"{name}: found labels {[int(v) for v in wrong]}; allowed are 0..{num_classes - 1} and {IGNORE} for "
                "ignored pixels. The reader and the label space do not belong together."
            )
        self.ignored += int(count[IGNORE])
        return count[:num_classes]

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 [3]: mean of each colour over all pixels, 0..1, RGB; NaN without pixels."""
        return self._moment(np.arange(256) / 255)

    @property
    def std(self) -> NDArray[np.float64]:
        """float64 [3]: standard deviation of each colour over all pixels, 0..1, RGB."""
        offsets_C256 = np.arange(256) / 255 - self.mean[:, None]
        return np.sqrt(self._moment(offsets_C256**2))

    def _moment(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        total_C = self.histogram_C256.sum(1)
        with np.errstate(invalid="ignore"):
            return np.asarray((self.histogram_C256 * values).sum(1) / total_C, np.float64)


def channel_histograms(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """int64 [3, 256]: how many pixels of a uint8 [H, W, 3] picture have each value, channel by channel."""
    rows = max(1, _EXACT // max(1, image.shape[1]))
    total = np.zeros((3, 256), np.int64)
    for top in range(0, image.shape[0], rows):
        band = np.ascontiguousarray(image[top : top + rows])
        for channel in range(3):
            total[channel] += cv2.calcHist([band], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
    return total


def names_hash(dataset: Dataset) -> str:
    """sha256 over the names of a data set in order."""
    return hashlib.sha256("\n".join(dataset.names).encode()).hexdigest()


def fingerprint(dataset: Dataset, space: LabelSpace, progress: Progress | None = None) -> dict[str, Any]:
    """What a run remembers of its data, as plain JSON values, in one pass.

    pictures; sizes ("height×width" -> pictures); classes (name -> pixels, images); class_pixels, class_image_pixels
    (lists in class order, for `class_weights`); ignored_pixels, ignored_share (0..1); mean, std (RGB, 0..1);
    names_sha256 (names in order); sha256 (names, sizes, decoded pixels and labels, in order).
    progress: called with (done, total). Raises one DataError that lists every unreadable sample.
    """
    tally = Tally(space.num_classes)
    content = hashlib.sha256()
    problems: list[str] = []
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
            tally.add(sample)
        except DataError as error:
            problems.append(str(error))
            continue
        content.update(f"{sample.name}\0{sample.rgb.shape}".encode())
        content.update(np.ascontiguousarray(sample.rgb).data)
        content.update(np.ascontiguousarray(sample.labels).data)
        if progress is not None:
            progress(index + 1, len(dataset))
    refuse_unreadable(problems, len(dataset))
    return {
        "pictures": tally.pictures,
        "sizes": {f"{h}×{w}": n for (h, w), n in tally.sizes.most_common()},
        "classes": {
            name: {"pixels": int(tally.class_pixels_K[k]), "images": int(tally.class_images_K[k])}
            for k, name in enumerate(space.class_names)
        },
        "class_pixels": tally.class_pixels_K.tolist(),
        "class_image_pixels": tally.class_image_pixels_K.tolist(),
        "ignored_pixels": tally.ignored,
        "ignored_share": tally.ignored / max(1, int(tally.histogram_C256[0].sum())),
        "mean": [round(float(v), 8) for v in tally.mean] if tally.pictures else None,
        "std": [round(float(v), 8) for v in tally.std] if tally.pictures else None,
        "names_sha256": names_hash(dataset),
        "sha256": content.hexdigest(),
    }


def _none(share_K: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ones_like(share_K)


def _inverse(share_K: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
    weights_K = 1 / share_K
    return np.asarray(weights_K / weights_K.mean(), np.float64)


def _median_frequency(_: NDArray[np.float64], frequency_K: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.median(frequency_K) / frequency_K, np.float64)


def _enet(share_K: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / np.log(1.02 + share_K)


def _log(share_K: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
    weights_K = 1 / np.log(1.1 + share_K)
    return np.asarray(weights_K / weights_K.mean(), np.float64)


WEIGHTINGS: Mapping[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = MappingProxyType(
    {"none": _none, "inverse": _inverse, "median_frequency": _median_frequency, "enet": _enet, "log": _log}
)


def class_weights(
    pixels_K: NDArray[np.int64], image_pixels_K: NDArray[np.int64], method: str, *, ignored_pixels: int = 0
) -> NDArray[np.float64]:
    """float64 [K]: a loss weight for each class, from the pixel counts of the training set.

    pixels_K: pixels of each class; image_pixels_K: pixels of all pictures that show it; p: the class's share of all
    pixels, ignored ones included; f: pixels_K / image_pixels_K.
    none: 1. inverse: 1/p, scaled to mean 1. median_frequency: median(f) / f (SegNet's rule). enet: 1 / ln(1.02 + p).
    log: 1 / ln(1.1 + p), scaled to mean 1.
    A class without pixels gets 1 and takes no part in mean and median. Raises UserError for an unknown method or counts
    that contradict each other.
    """
    if method not in WEIGHTINGS:
        raise UserError(f"unknown class weights '{method}'; there are: {', '.join(WEIGHTINGS)}.")
    pixels_K, image_pixels_K = np.asarray(pixels_K, np.float64), np.asarray(image_pixels_K, np.float64)
    if pixels_K.shape != image_pixels_K.shape or (pixels_K > image_pixels_K).any() or (pixels_K < 0).any():
        raise UserError("class weights need pixel counts >= 0, and no class with more pixels than its pictures have.")
    weights_K = np.ones(len(pixels_K))
    seen_K = pixels_K > 0
    if seen_K.any():
        share_K = pixels_K[seen_K] / (pixels_K.sum() + ignored_pixels)
        weights_K[seen_K] = WEIGHTINGS[method](share_K, pixels_K[seen_K] / image_pixels_K[seen_K])
    return weights_K
