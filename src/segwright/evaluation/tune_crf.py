"""Find the CRF parameters that suit a model, and judge them on pictures that did not choose them.

One half of the pictures chooses among parameters drawn at random, the other half judges the choice against the model
alone; whole groups (cities, sequences) go to one half, pictures of a single group are cut in the middle of their order.
Letters: N pictures, T tries, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.contracts import DataError, Dataset, Sample, UserError
from segwright.evaluation.calibrate import judging_half
from segwright.inference.ahead import Progress, read_ahead
from segwright.inference.running import as_image, computing, no_training
from segwright.metrics.confusion import confusion
from segwright.metrics.intervals import Interval, Resampled, paired_difference
from segwright.metrics.protocols import find_protocol
from segwright.metrics.scores import scores
from segwright.models.crf import CrfSettings, refine
from segwright.models.segmenter import Segmenter

TRIES = 20
PICTURES = 40
RANGES = {
    "w_bilateral": (1.0, 20.0),
    "sigma_xy": (10.0, 120.0),
    "sigma_rgb": (3.0, 30.0),
    "w_gaussian": (0.3, 10.0),
    "sigma_gaussian": (1.0, 5.0),
}
"""What is searched, evenly in logarithms: around the ranges of DeepLab v1 and v2, and below for small pictures."""


@dataclass(frozen=True, kw_only=True)
class CrfTuning:
    """What was chosen, and what it changes on pictures that did not choose it.

    settings: the best on the choosing half. tries: how many were compared. chosen_miou: mIoU of the choosing half, 0..1,
    of the model alone and refined. miou: the same of the judging half. change: refined minus alone there, paired.
    pictures: how many chose and how many judged. helps: whether the whole interval of the change lies above 0.
    """

    split: str
    protocol: str
    settings: CrfSettings
    tries: int
    chosen_miou: tuple[float, float]
    miou: tuple[float, float]
    change: Interval
    pictures: tuple[int, int]
    seed: int

    @property
    def helps(self) -> bool:
        return self.change.verdict == "better"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"helps": self.helps}


def draw_settings(tries: int, seed: int) -> list[CrfSettings]:
    """The usual parameters and tries - 1 random ones, rounded to three digits; the same for the same seed."""
    rng = np.random.default_rng(seed)
    drawn = [CrfSettings()]
    for _ in range(tries - 1):
        logs = {key: rng.uniform(np.log(low), np.log(high)) for key, (low, high) in RANGES.items()}
        drawn.append(CrfSettings.from_dict({key: float(f"{np.exp(value):.3g}") for key, value in logs.items()}))
    return drawn


def tune_crf(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    split: str,
    tries: int = TRIES,
    pictures: int = PICTURES,
    protocol: str = "pooled",
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> CrfTuning:
    """Compare `tries` settings on one half of a labelled split and judge the best on the other half.

    pictures: at most so many of each half are used, spread evenly over it. At most one picture's scores exist at a time.
    Raises UserError for a multi-label space, a protocol that is not counted in pixels, fewer than two pictures or tries
    below 1; DataError for a half without labelled pixels.
    """
    if not segmenter.labels.exclusive:
        raise UserError(f"label space '{segmenter.labels.name}' is multi-label; a CRF chooses one class a pixel.")
    if tries < 1 or pictures < 1:
        raise UserError(f"tries is {tries} and pictures is {pictures}; both are whole numbers from 1.")
    if len(dataset) < 2:
        raise UserError(
            f"split '{split}' has {len(dataset)} picture(s): one half chooses and the other judges, so two are needed at "
            "least. Choose a larger split."
        )
    rule = find_protocol(protocol).for_space(segmenter.labels)
    rule.check(segmenter.labels)
    if not rule.counted:
        raise UserError(f"protocol '{rule.name}' does not score pixel counts; tune with pooled.")
    judging_N = judging_half(dataset.groups, seed)
    halves = [_evenly(np.flatnonzero(half_N), pictures) for half_N in (~judging_N, judging_N)]
    settings = draw_settings(tries, seed)
    total = len(halves[0]) + len(halves[1])

    def seen(done: int) -> None:
        if progress is not None:
            progress(done, total)

    def counted(half: int, tried: Sequence[CrfSettings]) -> NDArray[np.int64]:
        before = len(halves[0]) * half
        counts_NTKK = _count(segmenter, dataset, halves[half], tried, device, lambda done, _: seen(before + done))
        shape = counts_NTKK.shape
        counts_NTKK = rule.without_void(counts_NTKK.reshape(-1, *shape[2:])).reshape(shape)
        if not counts_NTKK.any():
            raise DataError(f"split '{split}': one half of its pictures has no labelled pixel. Choose a larger split.")
        return counts_NTKK

    def miou(counts_NKK: NDArray[np.int64]) -> float:
        return rule.mean_iou(scores(counts_NKK.sum(0)))

    choosing = counted(0, settings)
    mious = [miou(choosing[:, t]) for t in range(choosing.shape[1])]
    best = int(np.nanargmax(mious[1:]))
    judged = counted(1, [settings[best]])
    groups = [dataset.groups[n] for n in halves[1].tolist()]
    alone, refined = (Resampled(judged[:, t], groups, seed=seed) for t in (0, 1))
    return CrfTuning(
        split=split,
        protocol=rule.name,
        settings=settings[best],
        tries=tries,
        chosen_miou=(mious[0], mious[1 + best]),
        miou=(miou(judged[:, 0]), miou(judged[:, 1])),
        change=paired_difference(refined, alone, lambda one: one.miou_R(rule)),
        pictures=(len(halves[0]), len(halves[1])),
        seed=seed,
    )


def _evenly(places_N: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    if len(places_N) <= most:
        return places_N
    return places_N[np.linspace(0, len(places_N) - 1, most).round().astype(np.int64)]


def _count(
    segmenter: Segmenter,
    dataset: Dataset,
    rows: NDArray[np.int64],
    settings: Sequence[CrfSettings],
    device: str,
    progress: Progress,
) -> NDArray[np.int64]:
    """int64 [N, 1 + T, K, K]: pixels by [truth, predicted] of the model alone, then with each of the settings."""
    segmenter = segmenter.to(device)
    classes = segmenter.num_classes
    counts = np.zeros((len(rows), 1 + len(settings), classes, classes), np.int64)
    reading = read_ahead(lambda place: dataset[int(rows[place])], len(rows))
    with no_training(segmenter), computing(device, "fp32"), closing(reading):
        for place, sample in enumerate(reading):
            image = as_image(sample.rgb, device, "channels_last")
            labels = _labels(sample).to(device)
            logits_KHW = segmenter(image)[0]
            for number, one in enumerate([None, *settings]):
                scored = logits_KHW if one is None else refine(logits_KHW, image[0], one)
                ids = scored.max(0).indices.to(torch.uint8)[None]
                counts[place, number] = confusion(labels, ids, classes, source=sample.name).cpu().numpy()
            progress(place + 1, len(rows))
    return counts


def _labels(sample: Sample) -> Tensor:
    if sample.labels is None or sample.labels.shape != sample.rgb.shape[:2]:
        raise DataError(f"{sample.name} has no mask of its size: a CRF is tuned on labelled pictures.")
    return torch.from_numpy(np.require(sample.labels, requirements=["C", "W"]))[None]
