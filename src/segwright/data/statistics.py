"""What a data set is made of, in one pass: sizes, colours, class pixels; and class weights from them.

Letters: K classes, C colours.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, Dataset, Sample, UserError
from segwright.data.pairs import PairedFiles, refuse_unreadable
from segwright.labels import LabelSpace
from segwright.names import did_you_mean

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_Result = TypeVar("_Result")
_CHUNK = 8
"""Samples that a thread counts at a time."""
_EXACT = 1 << 24  # OpenCV counts in float32, exact up to this many pixels


class Tally:
    """Counts over samples; memory does not grow with their number.

    sizes: (H, W) -> pictures. histogram_C256: int64 [3, 256], pixels of each 8-bit value, RGB.
    class_pixels_K, class_images_K: int64 [K], pixels of each class and pictures that show it.
    class_image_pixels_K: int64 [K], all pixels of those pictures together. ignored: pixels that count nowhere;
    ignored_image_pixels: all pixels of the pictures that have some.
    sets: labels from num_classes on that stand for sets of classes (`data.mixing`); set_pixels: pixels that have one.
    """

    def __init__(self, num_classes: int, sets: int = 0) -> None:
        self.pictures = 0
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.histogram_C256 = np.zeros((3, 256), np.int64)
        self.class_pixels_K = np.zeros(num_classes, np.int64)
        self.class_images_K = np.zeros(num_classes, np.int64)
        self.class_image_pixels_K = np.zeros(num_classes, np.int64)
        self.ignored, self.ignored_image_pixels = 0, 0
        self.sets, self.set_pixels = sets, 0

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
        beyond = num_classes + self.sets
        wrong = [v for v in np.flatnonzero(count[beyond:]) + beyond if v != IGNORE]
        if wrong:
            raise DataError(
                f"{name}: found labels {[int(v) for v in wrong]}; allowed are 0..{num_classes - 1} and {IGNORE} for "
                "ignored pixels. The reader and the label space do not belong together."
            )
        self.ignored += int(count[IGNORE])
        self.ignored_image_pixels += labels.size if count[IGNORE] else 0
        self.set_pixels += int(count[num_classes:beyond].sum())
        return count[:num_classes]

    def merge(self, other: Tally) -> None:
        """Add the counts of another tally with the same classes."""
        self.sizes.update(other.sizes)
        for name, value in vars(other).items():
            if name not in ("sizes", "sets"):
                setattr(self, name, getattr(self, name) + value)

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


def count_dataset(
    dataset: Dataset, num_classes: int, *, workers: int | None = None, progress: Progress | None = None
) -> Tally:
    """Every sample counted, in threads; memory does not grow with their number.

    workers: threads, by default one a core. progress: called with (done, total).
    Raises one DataError that lists every unreadable sample.
    """

    def count(indices: range) -> tuple[Tally, list[str]]:
        tally, problems = Tally(num_classes), list[str]()
        for index in indices:
            try:
                tally.add(dataset[index])
            except DataError as error:
                problems.append(str(error))
        return tally, problems

    total, wrong = Tally(num_classes), list[str]()
    for tally, problems in _in_threads(count, len(dataset), workers, progress):
        total.merge(tally)
        wrong += problems
    refuse_unreadable(wrong, len(dataset))
    return total


def count_classes(
    dataset: Dataset, num_classes: int, *, workers: int | None = None, progress: Progress | None = None
) -> NDArray[np.int64]:
    """int64 [N, K]: pixels of each class in each sample. Of files only the masks are read, in threads.

    workers, progress and errors as for `count_dataset`.
    """
    pixels_NK = np.zeros((len(dataset), num_classes), np.int64)

    def count(indices: range) -> list[str]:
        problems = []
        for index in indices:
            try:
                labels = _labels(dataset, index)
            except DataError as error:
                problems.append(str(error))
                continue
            per_class = labels.sum((1, 2)) if labels.ndim == 3 else np.bincount(labels.ravel(), minlength=256)
            pixels_NK[index] = per_class[:num_classes]
        return problems

    wrong = [problem for problems in _in_threads(count, len(dataset), workers, progress) for problem in problems]
    refuse_unreadable(wrong, len(dataset))
    return pixels_NK


def _labels(dataset: Dataset, index: int) -> NDArray[Any]:
    if isinstance(dataset, PairedFiles):
        pair = dataset.pairs[index]
        return np.asarray(dataset.labels.encode(dataset.read_raw(pair), source=pair.mask))
    labels = dataset[index].labels
    if labels is None:
        raise DataError(f"{dataset.names[index]}: the sample has no mask. Add one, or take the picture out.")
    return labels


def _in_threads(
    work: Callable[[range], _Result], count: int, workers: int | None, progress: Progress | None
) -> Iterator[_Result]:
    """The results of `work` on a few samples at a time, in order."""
    chunks = [range(at, min(at + _CHUNK, count)) for at in range(0, count, _CHUNK)]
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        try:
            for chunk, result in zip(chunks, pool.map(work, chunks), strict=True):
                yield result
                if progress is not None:
                    progress(chunk.stop, count)
        finally:
            pool.shutdown(cancel_futures=True)


def names_hash(dataset: Dataset) -> str:
    """sha256 over the names of a data set in order."""
    return hashlib.sha256("\n".join(dataset.names).encode()).hexdigest()


def fingerprint(
    dataset: Dataset, space: LabelSpace, progress: Progress | None = None, *, sets: int = 0
) -> dict[str, Any]:
    """What a run remembers of its data, as plain JSON values, in one pass.

    pictures; sizes ("height×width" -> pictures); classes (name -> pixels, images); class_pixels, class_image_pixels
    (lists in class order, for `class_weights`); ignored_pixels, ignored_image_pixels, ignored_share (0..1);
    set_pixels (labelled with a set of classes, where `sets` of them follow the classes); mean, std (RGB, 0..1);
    names_sha256 (names in order); sha256 (names, sizes, decoded pixels and labels, in order).
    progress: called with (done, total). Raises one DataError that lists every unreadable sample.
    """
    tally = Tally(space.num_classes, sets)
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
        "ignored_image_pixels": tally.ignored_image_pixels,
        "ignored_share": tally.ignored / max(1, int(tally.histogram_C256[0].sum())),
        **({"set_pixels": tally.set_pixels} if sets else {}),
        "mean": [round(float(v), 8) for v in tally.mean] if tally.pictures else None,
        "std": [round(float(v), 8) for v in tally.std] if tally.pictures else None,
        "names_sha256": names_hash(dataset),
        "sha256": content.hexdigest(),
    }


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """What class weights follow from; classes without pixels are left out.

    pixels_K: pixels of each class. frequency_K: pixels_K / all pixels of the pictures that show the class.
    void: the same for ignored pixels, 0 where there are none. total: all pixels, ignored ones included.
    """

    pixels_K: NDArray[np.float64]
    frequency_K: NDArray[np.float64]
    void: float
    total: float
    beta: float | None

    @property
    def share_K(self) -> NDArray[np.float64]:
        return self.pixels_K / self.total


def _mean_one(weights_K: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(weights_K / weights_K.mean(), np.float64)


def _none(counts: _Counts) -> NDArray[np.float64]:
    return np.ones_like(counts.pixels_K)


def _inverse(counts: _Counts) -> NDArray[np.float64]:
    return _mean_one(1 / counts.share_K)


def _median_frequency(counts: _Counts) -> NDArray[np.float64]:
    return np.asarray(np.median(counts.frequency_K) / counts.frequency_K, np.float64)


def _median_frequency_segnet(counts: _Counts) -> NDArray[np.float64]:
    with_void = np.append(counts.frequency_K, counts.void) if counts.void else counts.frequency_K
    return np.asarray(np.median(with_void) / counts.frequency_K, np.float64)


def _enet(counts: _Counts) -> NDArray[np.float64]:
    return 1 / np.log(1.02 + counts.share_K)


def _log(counts: _Counts) -> NDArray[np.float64]:
    return _mean_one(1 / np.log(1.1 + counts.share_K))


def _effective(counts: _Counts) -> NDArray[np.float64]:
    pixels_K = counts.pixels_K
    beta = counts.beta if counts.beta is not None else max(0.0, 1 - 1 / pixels_K.mean())
    with np.errstate(divide="ignore"):  # log(0): beta 0 gives every class the same weight
        return _mean_one(1 / -np.expm1(pixels_K * np.log(beta)))


WEIGHTINGS: Mapping[str, Callable[[_Counts], NDArray[np.float64]]] = MappingProxyType(
    {
        "none": _none,
        "inverse": _inverse,
        "median_frequency": _median_frequency,
        "median_frequency_segnet": _median_frequency_segnet,
        "enet": _enet,
        "log": _log,
        "effective": _effective,
    }
)


def class_weights(
    pixels_K: NDArray[np.int64],
    image_pixels_K: NDArray[np.int64],
    method: str,
    *,
    ignored_pixels: int = 0,
    ignored_image_pixels: int = 0,
    beta: float | None = None,
) -> NDArray[np.float64]:
    """float64 [K]: a loss weight for each class, from the pixel counts of the training set.

    pixels_K: n, pixels of each class; image_pixels_K: pixels of all pictures that show it; ignored_pixels and
    ignored_image_pixels: the same for void. p: the class's share of all pixels, ignored ones included; f: its share of
    the pixels of the pictures that show it.
    none: 1. inverse: 1/p, scaled to mean 1. median_frequency: median(f) / f, the median over the classes (Eigen and
    Fergus 2015). median_frequency_segnet: the same with void as one more class of the median, which is how the numbers
    of SegNet (2017) come about. enet: 1 / ln(1.02 + p) (Paszke et al. 2016). log: 1 / ln(1.1 + p), scaled to mean 1.
    effective: 1 / (1 - beta^n), scaled to mean 1 (Cui et al. 2019, effective number of samples). The paper counts
    pictures and takes beta 0.9999; with n in pixels that would give every class of more than 100,000 pixels the same
    weight. So beta is 1 - 1/N with N the mean n of the classes, unless given (0 <= beta < 1): beta nearer to 1 comes
    closer to `inverse`, 0 is `none`, and the weights do not change with the size of pictures or data set.
    A class without pixels gets 1 and takes no part in mean and median. Raises UserError for an unknown method, a wrong
    beta, or counts that contradict each other.
    """
    if method not in WEIGHTINGS:
        hint = did_you_mean(method, WEIGHTINGS)
        raise UserError(f"unknown class weights '{method}'.{hint} There are: {', '.join(WEIGHTINGS)}.")
    if beta is not None and not 0 <= beta < 1:
        raise UserError(f"beta is {beta}; allowed is 0 up to, not including, 1, such as 0.9999999.")
    n_K, image_n_K = np.asarray(pixels_K, np.float64), np.asarray(image_pixels_K, np.float64)
    if n_K.shape != image_n_K.shape or (n_K > image_n_K).any() or (n_K < 0).any():
        raise UserError("class weights need pixel counts >= 0, and no class with more pixels than its pictures have.")
    if method == "median_frequency_segnet" and ignored_pixels > ignored_image_pixels:
        raise UserError(
            f"median_frequency_segnet counts void as a class. There are {ignored_pixels} ignored pixels, but "
            f"ignored_image_pixels, all pixels of the pictures that have some, is {ignored_image_pixels}."
        )
    weights_K = np.ones(len(n_K))
    seen_K = n_K > 0
    if seen_K.any():
        counts = _Counts(
            pixels_K=n_K[seen_K],
            frequency_K=n_K[seen_K] / image_n_K[seen_K],
            void=ignored_pixels / ignored_image_pixels if ignored_image_pixels else 0.0,
            total=float(n_K.sum() + ignored_pixels),
            beta=beta,
        )
        weights_K[seen_K] = WEIGHTINGS[method](counts)
    return weights_K
