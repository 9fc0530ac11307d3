"""Does an exported model still do what the original does? Both see the same labelled pictures.

Letters: K classes, H W pixels.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.contracts import DataError, Dataset
from segwright.inference.ahead import Progress
from segwright.inference.backends.exported import ExportedSegmenter
from segwright.inference.running import as_image, computing
from segwright.metrics.confusion import confusion
from segwright.metrics.scores import scores
from segwright.models.segmenter import Segmenter

POINTS = {"fp32": 0.05, "fp16": 0.05, "int8": 0.5}
"""How much mIoU an exported model may lose, points of 100, by precision."""
LOGITS = {"fp32": 1e-4, "fp16": 1e-2}
"""Largest allowed difference of a score, as a share of the largest score (at least 1); int8 has no limit."""
AGREEMENT = {"fp32": 0.999, "fp16": 0.999}
"""Share of pixels that must get the same class; for int8 the scores alone decide."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Original and exported model on the same labelled pictures.

    miou: of both, 0..1. iou: of both by class; None where undefined. agreement: share of all pixels with the same class.
    logits: the largest difference of a score, as a share of the largest score, at least 1. border_shift: mean distance
    from a border between classes to the nearest one of the other model, pixels; None where one draws none.
    milliseconds: of both, the median time of one picture. tolerance: allowed loss of mIoU, points.
    """

    backend: str
    precision: str
    split: str
    pictures: int
    miou: tuple[float, float]
    iou: dict[str, tuple[float | None, float | None]]
    agreement: float
    logits: float
    border_shift: float | None
    milliseconds: tuple[float, float]
    tolerance: float

    @property
    def points(self) -> float:
        """Change of mIoU, points of 100: negative where the exported model is worse."""
        return 100 * (self.miou[1] - self.miou[0])

    @property
    def problems(self) -> list[str]:
        """What is out of tolerance, a sentence each; empty for a model to accept."""
        limits = LOGITS.get(self.precision), AGREEMENT.get(self.precision)
        if self.backend == "openvino":  # it computes in what is fastest on this machine, whatever the file holds
            limits = (None, None)
        told = []
        if not abs(self.points) <= self.tolerance:
            told.append(f"mIoU changes by {self.points:+.3f} points; allowed are {self.tolerance:g}")
        if limits[0] is not None and not self.logits <= limits[0]:
            told.append(f"scores differ by {self.logits:.2g} of the largest one; allowed are {limits[0]:g}")
        if limits[1] is not None and self.agreement < limits[1]:
            told.append(
                f"{100 * self.agreement:.3f} % of the pixels get the same class; wanted are {100 * limits[1]:g} %"
            )
        return told

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        content = {k: getattr(self, k) for k in self.__dataclass_fields__}
        return content | {"points": self.points, "problems": self.problems}


def verify(
    original: Segmenter,
    exported: Segmenter,
    dataset: Dataset,
    *,
    backend: str,
    precision: str,
    split: str,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Score both on every labelled picture, on the CPU, at the pictures' original size.

    tolerance: allowed change of mIoU, points; by precision when None. Raises DataError without a labelled pixel.
    """
    classes = original.num_classes
    names = original.labels.class_names
    counts = np.zeros((2, classes, classes), np.int64)
    same = pixels = 0
    logits, largest = 0.0, 1.0
    shifts: list[NDArray[np.float32]] = []
    times: tuple[list[float], list[float]] = ([], [])
    original = original.cpu().eval()
    with computing("cpu", "fp32"):
        for index in range(len(dataset)):
            sample = dataset[index]
            if sample.labels is None:
                raise DataError(f"{sample.name} has no mask: an export is verified on labelled pictures alone.")
            image = as_image(sample.rgb, "cpu", "contiguous")
            labels = torch.from_numpy(np.ascontiguousarray(sample.labels))[None]
            if index == 0:  # the first call of a runtime makes its plans
                exported.ids(image)
                original.ids(image)
            ids = [_timed(model.ids, image, spent) for model, spent in zip((original, exported), times, strict=True)]
            for place, found in enumerate(ids):
                counts[place] += confusion(labels, found, classes, source=sample.name).numpy()
            difference, size = _difference(original(image), exported(image))
            logits, largest = max(logits, difference), max(largest, size)
            same += int((ids[0] == ids[1]).sum())
            pixels += ids[0].numel()
            shifts += border_distances(ids[0][0].numpy(), ids[1][0].numpy())
            if progress is not None:
                progress(index + 1, len(dataset))
    if not counts.any():
        raise DataError(f"'{split}' has no labelled pixel: an export cannot be verified on it.")
    both = [scores(one) for one in counts]
    distances = np.concatenate(shifts) if shifts else np.zeros(0, np.float32)
    return Verification(
        backend=backend,
        precision=precision,
        split=split,
        pictures=len(dataset),
        miou=(float(np.nanmean(both[0].iou)), float(np.nanmean(both[1].iou))),
        iou={name: (_plain(both[0].iou[k]), _plain(both[1].iou[k])) for k, name in enumerate(names)},
        agreement=same / pixels,
        logits=logits / largest,
        border_shift=float(distances.mean()) if distances.size else None,
        milliseconds=(1000 * statistics.median(times[0]), 1000 * statistics.median(times[1])),
        tolerance=POINTS[precision] if tolerance is None else tolerance,
    )


def border_distances(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Distance of each border pixel of either map to the nearest one of the other, pixels; empty where one has none.

    first, second: uint8 [H, W]. A border pixel differs from the pixel below or to the right.
    """
    borders = [_borders(ids) for ids in (first, second)]
    if not all(border.any() for border in borders):
        return []
    away = [cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for border in borders]
    return [np.asarray(away[1][borders[0]], np.float32), np.asarray(away[0][borders[1]], np.float32)]


def _borders(ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
    found = np.zeros(ids.shape, bool)
    found[:-1] |= ids[:-1] != ids[1:]
    found[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    return found


def _timed(call: Callable[[Tensor], Tensor], image: Tensor, spent: list[float]) -> Tensor:
    start = time.perf_counter()
    found = call(image)
    spent.append(time.perf_counter() - start)
    return found


def _difference(first: Tensor, second: Tensor) -> tuple[float, float]:
    """The largest difference of a score, infinite where one is not finite, and the largest score."""
    apart = float((first - second).abs().max())
    return (apart if math.isfinite(apart) else math.inf), float(first.abs().max())


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def check_scores(original: Segmenter, exported: ExportedSegmenter, *, precision: str) -> None:
    """Compare the scores of generated pictures, which needs no data. Raises DataError where they differ by more than LOGITS.

    Where the exported model takes any size, an odd one and that of a whole number of strides are tried.
    """
    size, stride = exported.description.size, original.stride
    sizes = [size] if size is not None else [(2 * stride + 1, 3 * stride + 5), (3 * stride, 2 * stride)]
    rng = np.random.default_rng(0)
    original = original.cpu().eval()
    for height, width in sizes:
        coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
        picture = np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])
        with computing("cpu", "fp32"):
            image = as_image(picture, "cpu", "contiguous")
            apart, largest = _difference(original(image), exported(image))
        allowed = LOGITS.get(precision, math.inf) * max(1.0, largest)
        if apart > allowed or math.isinf(apart):
            raise DataError(
                f"the exported model does not do what the original does: on a generated picture of {height}×{width} scores "
                f"differ by {apart:.2g}; allowed are {allowed:.2g}. Nothing was written. Try a fixed size (--size {height}x{width}), "
                "and please report the architecture."
            )
