"""The one loop for validation and evaluation: a model and labelled samples become counts.

Letters: N pictures, K classes, H W pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.contracts import DataError, Dataset, Sample, SegwrightError, UserError
from segwright.inference.ahead import Progress, read_ahead
from segwright.inference.running import as_image, check_mode, computing, no_training
from segwright.inference.sharding import WHOLE, Shard
from segwright.metrics.confusion import confusion
from segwright.metrics.measure import Arrays, Measure, Scored
from segwright.models.converted import Converted
from segwright.models.segmenter import no_numbers

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter

PictureLoss = Callable[[Tensor, Tensor], Tensor]
"""(float32 logits [1, K, H, W], int64 labels [1, H, W]) -> scalar."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model did on a data set.

    counts_NKK: int64 [N, K, K], pixels by [truth, predicted] of each picture; void pixels count nowhere.
    ignored_N: int64 [N], void pixels of each picture.
    seconds: wall time of decoding, prediction and counting together.
    loss: mean over pictures that have labelled pixels; None when no loss was asked for or no picture has any.
    """

    counts_NKK: NDArray[np.int64]
    ignored_N: NDArray[np.int64]
    seconds: float
    loss: float | None = None
    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    """What each further measure noted, by its name."""


def measure(
    segmenter: Segmenter | Converted,
    dataset: Dataset,
    *,
    device: str,
    precision: str = "fp32",
    memory_format: str = "contiguous",
    loss: PictureLoss | None = None,
    measures: Sequence[Measure] = (),
    progress: Progress | None = None,
    shard: Shard = WHOLE,
) -> Measured:
    """Predict every sample at its original size, one at a time, and count.

    segmenter: predicts in the label space of the data set's labels. device: where to run; the segmenter is moved there
    and stays. precision: fp32, bf16 or fp16. memory_format: contiguous or channels_last.
    loss: also compute it on each picture's full-size logits.
    measures: what else to measure of each picture; one that needs logits costs the memory of one picture's.
    shard: this process's pictures where several score together; all of them call this, and each gets the whole result,
    the same numbers for any count of processes.
    The next sample is read while the model runs. At most one picture's logits exist at a time; where nothing needs them none do.
    Every submodule is back in its mode (training or evaluation) afterwards. An empty data set gives zero pictures.
    Raises DataError naming the sample when its labels are missing, do not fit the picture or hold unknown ids.
    """
    check_mode(precision, memory_format)
    with_logits = loss is not None or any(one.needs_logits for one in measures)
    if with_logits and isinstance(segmenter, Converted):
        raise ValueError("a loss compares scores in the model's own label space; this model is seen in another")
    if not segmenter.labels.exclusive:
        raise UserError(f"label space '{segmenter.labels.name}' is multi-label; only exclusive spaces can be scored.")
    started = time.perf_counter()
    num_classes = segmenter.num_classes
    counts_NKK = np.zeros((len(dataset), num_classes, num_classes), np.int64)
    ignored_N = np.zeros(len(dataset), np.int64)
    loss_N, labelled_N = np.zeros(len(dataset)), np.zeros(len(dataset), np.int64)
    arrays = {one.name: one.begin(len(dataset)) for one in measures}
    segmenter = segmenter.to(device)
    rows = shard.rows(len(dataset))
    samples = read_ahead(lambda place: _read(dataset, rows[place]), len(rows))
    with no_training(segmenter), computing(device, precision), closing(samples):
        for done, (index, (sample, labels_HW)) in enumerate(zip(rows, samples, strict=True), 1):
            image = as_image(sample.rgb, device, memory_format)
            labels = torch.from_numpy(np.require(labels_HW, requirements=["C", "W"]))[None].to(device)
            logits = None
            if not with_logits:
                ids = segmenter.ids(image)
            else:
                logits = segmenter(image)
                best = logits.max(1)  # several times faster than argmax(1)
                ids = best.indices.to(torch.uint8)
                if loss is None and bool(best.values.isnan().any()):  # in training, the loss tells of it
                    raise no_numbers(best.values, sample.name)
                del best
                value = float(loss(logits, labels.long())) if loss is not None else math.nan
            counts_KK = confusion(labels, ids, num_classes, source=sample.name).cpu().numpy()
            if measures:
                seen = _scored(index, sample, labels_HW, ids, logits)
                for one in measures:
                    one.see(seen, arrays[one.name])
                del seen
            del logits
            counts_NKK[index] = counts_KK
            ignored_N[index] = labels_HW.size - counts_KK.sum()
            if loss is not None and counts_KK.any():
                loss_N[index], labelled_N[index] = value, 1
            if progress is not None:
                progress(shard.seen(done, len(dataset)), len(dataset))
    for values in (counts_NKK, ignored_N, labelled_N, *(v for found in arrays.values() for v in found.values())):
        shard.summed(values)
    losses = shard.summed(loss_N)[labelled_N > 0].tolist()
    mean_loss = math.fsum(losses) / len(losses) if losses else None
    seconds = time.perf_counter() - started
    return Measured(counts_NKK=counts_NKK, ignored_N=ignored_N, seconds=seconds, loss=mean_loss, arrays=arrays)


def _scored(index: int, sample: Sample, labels: NDArray[np.uint8], ids: Tensor, logits: Tensor | None) -> Scored:
    return Scored(
        index=index,
        name=sample.name,
        rgb=sample.rgb,
        labels=labels,
        ids=ids[0].cpu().numpy(),
        instances=sample.instances,
        logits=None if logits is None else logits[0].float(),
    )


def _read(dataset: Dataset, index: int) -> tuple[Sample, NDArray[np.uint8]]:
    """A sample and its labels, checked against its picture."""
    try:
        sample = dataset[index]
    except SegwrightError:
        raise
    except Exception as error:
        error.add_note(f"while reading sample {index} ({dataset.names[index]})")
        raise
    if sample.labels is None:
        raise DataError(
            f"{sample.name} has no mask: only labelled pictures can be scored. Add the mask or drop the picture."
        )
    if sample.labels.shape != sample.rgb.shape[:2]:
        (height, width), found = sample.rgb.shape[:2], list(sample.labels.shape)
        raise DataError(
            f"{sample.name}: the mask is {found}, the picture {[height, width]} (H, W). They must be equal."
        )
    return sample, sample.labels
