"""Pictures that live on the device: decoded once, uploaded once as uint8, cut and coloured there.

The same `Params`, drawn from (seed, epoch, index), drive this path and the one picture by picture on the CPU. Masks are
equal but where a border falls between two pixels; pictures differ by rounding (tests/data/test_device.py states the
bounds). Pictures whose Params hold anything but windows, flips, colours and blur are prepared on the CPU and copied.
Letters: B batch, H W pixels of a stored picture, h w of a crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwright.contracts import IGNORE, Batch, Dataset, UserError
from segwright.data.augment import MEAN_COLOR, Augment, Augmentation, Params, sample_rng
from segwright.data.augment.coloring import channel_matrix, level_table
from segwright.data.augment.geometry import AREA_FROM, Placement, placement
from segwright.data.augment.partners import labels_of
from segwright.data.cache import Progress, estimated_bytes, free_memory
from segwright.data.loading import TrainLoader
from segwright.data.prefetch import Check

DEVICE_SHARE = 0.8
"""The pictures must fit into this share of the device's free memory; the model needs the rest."""

_HERE = frozenset(
    (
        "window",
        "flip",
        "brightness",
        "contrast",
        "gamma",
        "saturation",
        "hue",
        "channels",
        "balance",
        "blur_sigma",
        "seed",
    )
)
"""Fields of Params that this path can do; `seed` only feeds operations that it cannot."""


class DeviceLoader(TrainLoader):
    """A TrainLoader whose pictures stay on `device`; batches come out there, in the same order as everywhere else.

    dataset: read once, by `preload`; later again only for pictures that the device path cannot do, so a pack or a data
    set in memory is best. Other arguments: TrainLoader.
    Raises UserError when the pictures need more than DEVICE_SHARE of the device's free memory, and for Albumentations.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: Augment,
        *,
        batch: int,
        seed: int,
        device: str,
        membership_LK: NDArray[np.bool_] | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        super().__init__(
            dataset,
            augmentation,
            batch=batch,
            seed=seed,
            cache="none",
            membership_LK=membership_LK,
            rank=rank,
            ranks=ranks,
        )
        need, free = estimated_bytes(dataset), free_on(device)
        if need > DEVICE_SHARE * free:
            raise UserError(
                f"data.cache=device: the pictures need {need / 1e9:.1f} GB, and {device} has {free / 1e9:.1f} GB free, "
                f"of which {DEVICE_SHARE:.0%} may be used. Use data.cache=pack, or pack smaller pictures."
            )
        if membership_LK is not None:
            self._membership_LK = torch.from_numpy(membership_LK).to(device)
        self._augmentation, self._device = for_device(augmentation), device
        self._resident: list[tuple[Tensor, Tensor, float]] = []

    @property
    def cached(self) -> bool:
        return True

    def change(self, augmentation: Augment, batch: int) -> None:
        super().change(for_device(augmentation), batch)
        self._augmentation = for_device(augmentation)

    def preload(self, progress: Progress | None = None) -> None:
        """Decode and upload all samples now. progress: called with (done, total). Raises DataError for bad files."""
        for index in range(len(self._resident), len(self.dataset)):
            sample = self.dataset[index]
            image_3HW = torch.from_numpy(np.ascontiguousarray(sample.rgb.transpose(2, 0, 1))).to(self._device)
            labels_HW = torch.from_numpy(labels_of(sample).copy()).to(self._device)
            self._resident.append((image_3HW, labels_HW, sample.weight))
            if progress is not None:
                progress(index + 1, len(self.dataset))
        self._maker.prepare(progress)

    @torch.no_grad()
    def _make(self, epoch: int, number: int, indices: list[int], check: Check) -> Batch:
        h, w = self._augmentation.size
        image_B3hw = torch.empty(len(indices), 3, h, w, dtype=torch.uint8, device=self._device)
        labels_Bhw = torch.empty(len(indices), h, w, dtype=torch.uint8, device=self._device)
        drawn = [self._drawn(epoch, index) for index in indices]
        here = [row for row, params in enumerate(drawn) if possible(params, (h, w))]
        elsewhere = [row for row in range(len(indices)) if row not in here]
        check()
        if here:
            chosen = [self._resident[indices[row]][:2] for row in here]
            image_B3hw[here], labels_Bhw[here] = augmented(chosen, [drawn[row] for row in here], (h, w))
        if elsewhere:
            arrays = self._maker.make(epoch, [indices[row] for row in elsewhere], lambda _: check())
            image_B3hw[elsewhere] = torch.from_numpy(arrays.image_B3hw).to(self._device)
            labels_Bhw[elsewhere] = torch.from_numpy(arrays.labels_Bhw).to(self._device)
        weights = [self._resident[index][2] for index in indices]
        return Batch(
            image=image_B3hw,
            labels=labels_Bhw.long(),
            names=tuple(self.dataset.names[index] for index in indices),
            weights=torch.tensor(weights, dtype=torch.float32),
            index=number,
            membership_LK=self._membership_LK,
            known_labelled=bool((labels_Bhw != IGNORE).any()),  # this thread waits, so that the training need not
        )

    def _drawn(self, epoch: int, index: int) -> Params:
        height, width = self._resident[index][1].shape
        return self._augmentation.draw(height, width, sample_rng(self.seed, epoch, index))


def for_device(augmentation: Augment) -> Augmentation:
    """The augmentation itself. Raises UserError for one that works on the processor only."""
    if not isinstance(augmentation, Augmentation):
        raise UserError("data.cache=device augments on the device, which Albumentations cannot: use data.cache=pack.")
    return augmentation


def free_on(device: str) -> int:
    """Bytes that are free on a device; on the CPU, in memory."""
    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    if kind == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return free_memory()


def possible(params: Params, size: tuple[int, int]) -> bool:
    """Whether `augmented` can do all that these parameters ask for, for crops of `size` = (h, w)."""
    plain = Params(window=params.window)
    others = (f.name for f in fields(Params) if f.name not in _HERE)
    return all(getattr(params, name) == getattr(plain, name) for name in others) and (
        _blur_taps(params.blur_sigma) // 2 < min(size)
    )


def augmented(
    samples: Sequence[tuple[Tensor, Tensor]], params: Sequence[Params], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The crops that the parameters describe, on the device of the samples.

    samples: (image uint8 [3, H, W], labels uint8 [H, W]) each, of any sizes. Returns image uint8 [B, 3, h, w] and
    labels uint8 [B, h, w], as `Augmentation.apply` does within rounding.
    """
    placed = [_placed(*sample, one, size) for sample, one in zip(samples, params, strict=True)]
    image_B3hw, labels_Bhw = (torch.stack(parts) for parts in zip(*placed, strict=True))
    return _colored(image_B3hw, params), labels_Bhw


def _placed(image_3HW: Tensor, labels_HW: Tensor, params: Params, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """One window, resized, filled and flipped: image uint8 [3, h, w], labels uint8 [h, w]."""
    at = placement(params.window, (labels_HW.shape[0], labels_HW.shape[1]), size)
    (y0, y1), (x0, x1) = at.source_rows, at.source_columns
    image, labels = _resized(image_3HW[:, y0:y1, x0:x1], at), _nearest(labels_HW[y0:y1, x0:x1], at)
    if at.inner != size:
        margins = (at.columns[0], size[1] - at.columns[1], at.rows[0], size[0] - at.rows[1])
        labels = F.pad(labels, margins, value=IGNORE)
        image = torch.stack([F.pad(plane, margins, value=c) for plane, c in zip(image, MEAN_COLOR, strict=True)])
    return (image.flip(-1), labels.flip(-1)) if params.flip else (image, labels)


def _resized(image: Tensor, at: Placement) -> Tensor:
    """uint8 [3, ...] of at.inner pixels: bilinear, or the average of the area where the picture shrinks much."""
    height, width = image.shape[-2:]
    if at.inner == (height, width):
        return image
    if max(height / at.inner[0], width / at.inner[1]) > AREA_FROM:
        rows, columns = (_areas(n, m, image.device) for n, m in zip((height, width), at.inner, strict=True))
        return _uint8(rows @ image.float() @ columns.T)
    return _uint8(F.interpolate(image[None].float(), at.inner, mode="bilinear", align_corners=False)[0])


def _areas(length: int, new: int, device: torch.device) -> Tensor:
    """float32 [new, length]: the share that each old pixel has in each new one."""
    edges = torch.arange(new + 1, device=device, dtype=torch.float32) * (length / new)
    pixels = torch.arange(length, device=device, dtype=torch.float32)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return overlap.clamp_min(0) * (new / length)


def _nearest(labels: Tensor, at: Placement) -> Tensor:
    """Labels of at.inner pixels, each that of the old pixel in which the middle of the new one lies."""
    rows, columns = (
        (2 * torch.arange(new, device=labels.device) + 1) * old // (2 * new)
        for old, new in zip(labels.shape, at.inner, strict=True)
    )
    return labels[rows[:, None], columns[None]]


def _colored(image_B3hw: Tensor, params: Sequence[Params]) -> Tensor:
    """The batch in its new colours: one table and one matrix a picture, then blur."""
    B, _, h, w = image_B3hw.shape
    device = image_B3hw.device
    tables = [level_table(one) for one in params]
    if any(table is not None for table in tables):
        same = np.arange(256, dtype=np.uint8)
        table_Bv = torch.from_numpy(np.stack([same if t is None else t for t in tables])).to(device)
        image_B3hw = table_Bv.gather(1, image_B3hw.reshape(B, -1).long()).view(B, 3, h, w)
    matrices = [channel_matrix(one) for one in params]
    if any(matrix is not None for matrix in matrices):
        matrix_B33 = torch.from_numpy(np.stack([np.eye(3, dtype=np.float32) if m is None else m for m in matrices]))
        image_B3hw = _uint8(matrix_B33.to(device) @ image_B3hw.reshape(B, 3, -1).float()).view(B, 3, h, w)
    blurred = [row for row, one in enumerate(params) if one.blur_sigma > 0]
    for row in blurred:
        image_B3hw[row] = _blurred(image_B3hw[row], params[row].blur_sigma)
    return image_B3hw


def _blur_taps(sigma: float) -> int:
    """Pixels under OpenCV's Gaussian for 8-bit pictures."""
    return round(sigma * 6 + 1) | 1 if sigma > 0 else 1


def _blurred(image_3hw: Tensor, sigma: float) -> Tensor:
    taps = _blur_taps(sigma)
    kernel = torch.from_numpy(cv2.getGaussianKernel(taps, sigma, cv2.CV_32F)[:, 0]).to(image_3hw.device)
    padded = F.pad(image_3hw[:, None].float(), (taps // 2,) * 4, mode="reflect")
    return _uint8(F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0])


def _uint8(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
