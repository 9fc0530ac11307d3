"""Fit a model's temperature on labelled pictures, and judge it on others.

One half of the pictures fits, the other half judges; the temperature that is kept is then fitted on all of them. Whole
groups (cities, sequences) go to one half; pictures of a single group are cut in the middle of their order.
Letters: N pictures, P sampled pixels, K classes, B bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.contracts import DataError, Dataset, UserError
from segwright.inference.ahead import Progress, read_ahead
from segwright.inference.running import as_image, computing, no_training
from segwright.metrics.abstaining import RANKS, Point, RiskCoverage, rank_of
from segwright.metrics.calibration import BINS, Binned, bin_of
from segwright.metrics.intervals import Draws, Interval
from segwright.metrics.scores import ratio
from segwright.metrics.temperature import Pixels, confidences, fit_temperatures, log_likelihoods
from segwright.models.segmenter import Segmenter

PIXELS = 400_000
PER_PICTURE = 20_000
CLASS_PIXELS = 1000
"""Sampled pixels that a class needs for a temperature of its own; rarer ones take that of all pixels."""
RISKS = (0.01, 0.02, 0.05)


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """What was fitted, and what it changes on pictures that it was not fitted on.

    temperatures: one, or one a class in the order of the label space. shared: classes that were too rare for their own.
    kept: whether it lowers the held-out negative log-likelihood; else the model is left without a temperature.
    nll, ece: held out, before and after: nats a pixel and 0..1. nll_change, ece_change: after minus before.
    pictures: how many fitted and how many judged. pixels: sampled ones, at most `per_picture` of a picture, with `seed`.
    answers: by wished risk, the threshold of confidence that keeps it on all pictures, or None where none does.
    """

    split: str
    temperatures: tuple[float, ...]
    shared: tuple[str, ...]
    kept: bool
    nll: tuple[float, float]
    nll_change: Interval
    ece: tuple[float, float]
    ece_change: Interval
    pictures: tuple[int, int]
    pixels: int
    per_picture: int
    seed: int
    answers: Mapping[float, Point | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        content = asdict(self)
        content["answers"] = [
            {"risk": wished, "point": None if point is None else asdict(point)}
            for wished, point in self.answers.items()
        ]
        return content


@dataclass(frozen=True)
class _Sample:
    """Sampled pixels of pictures; picture_P, int64 [P], says which one each is from."""

    pixels: Pixels
    picture_P: NDArray[np.int64]

    @property
    def called_P(self) -> NDArray[np.int64]:
        """int64 [P]: the best class of each."""
        return np.asarray(self.pixels.logits_PK.argmax(1).numpy(), np.int64)

    def of(self, chosen_N: NDArray[np.bool_]) -> _Sample:
        inside = torch.from_numpy(chosen_N[self.picture_P])
        return _Sample(Pixels(*(values[inside] for values in self.pixels)), self.picture_P[inside.numpy()])


def calibrate(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    split: str,
    classwise: bool = False,
    risks: Sequence[float] = RISKS,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> CalibrationResult:
    """Give the segmenter the temperature that makes its probabilities fit the labels, where that helps.

    classwise: one temperature for each predicted class. risks: wished shares of wrong pixels, above 0 and below 1.
    The segmenter is moved to the device, and has the new temperature afterwards, or none where it does not help.
    Raises UserError for a multi-label space, fewer than two pictures, and a risk out of range; DataError for a half
    without labelled pixels, and for scores that are not finite.
    """
    if not segmenter.labels.exclusive:
        raise UserError(f"label space '{segmenter.labels.name}' is multi-label; only exclusive spaces are calibrated.")
    if bad := [risk for risk in risks if not 0 < risk < 1]:
        raise UserError(f"risk is {bad[0]}; allowed are shares of wrong pixels above 0 and below 1, such as 0.05.")
    if len(dataset) < 2:
        raise UserError(
            f"split '{split}' has {len(dataset)} picture(s): one half of the pictures fits and the other judges, so two "
            "are needed at least. Choose a larger split."
        )
    segmenter.set_temperature(None)
    per_picture = max(1, min(PER_PICTURE, PIXELS // len(dataset)))
    sample = _sample(segmenter, dataset, per_picture, seed, device, progress)
    judging_N = judging_half(dataset.groups, seed)
    half, judge = sample.of(~judging_N), sample.of(judging_N)
    if not len(half.picture_P) or not len(judge.picture_P):
        raise DataError(f"split '{split}': one half of its pictures has no labelled pixel. Choose a larger split.")
    tried_K, _, settled = _fit(half, segmenter.num_classes, classwise)
    final_K, shared, found = _fit(sample, segmenter.num_classes, classwise)
    rows = np.flatnonzero(judging_N)
    draws = Draws(len(rows), [dataset.groups[n] for n in rows.tolist()], seed=seed)
    both = [_rows(judge, len(dataset), values_K) for values_K in (np.ones(segmenter.num_classes), tried_K)]
    judged = [{name: values[rows] for name, values in one.items()} for one in both]
    nll, ece = [_nll(draws, one) for one in judged], [_ece(draws, one) for one in judged]
    kept = bool(settled and found and nll[1][0] < nll[0][0])
    if kept:
        segmenter.set_temperature(final_K.tolist() if classwise else [float(final_K[0])])
    ranked = _ranked(sample, final_K if kept else np.ones(segmenter.num_classes))
    return CalibrationResult(
        split=split,
        temperatures=tuple(final_K.tolist()) if classwise else (float(final_K[0]),),
        shared=tuple(segmenter.labels.class_names[k] for k in shared),
        kept=kept,
        nll=(float(nll[0][0]), float(nll[1][0])),
        nll_change=draws.interval(nll[1] - nll[0]),
        ece=(float(ece[0][0]), float(ece[1][0])),
        ece_change=draws.interval(ece[1] - ece[0]),
        pictures=(int((~judging_N).sum()), int(judging_N.sum())),
        pixels=len(sample.picture_P),
        per_picture=per_picture,
        seed=seed,
        answers={risk: ranked.at_risk(risk) for risk in risks},
    )


def _sample(
    segmenter: Segmenter, dataset: Dataset, per_picture: int, seed: int, device: str, progress: Progress | None
) -> _Sample:
    """Random labelled pixels of every picture, with weights so that each stands for as many as the picture has."""
    segmenter = segmenter.to(device)
    parts: list[tuple[Tensor, NDArray[np.uint8], float]] = []
    reading = read_ahead(lambda index: dataset[index], len(dataset))
    with no_training(segmenter), computing(device, "fp32"), closing(reading):
        for index, sample in enumerate(reading):
            if sample.labels is None:
                raise DataError(f"{sample.name} has no mask: only labelled pictures can be calibrated on.")
            labelled = np.flatnonzero(sample.labels < segmenter.num_classes)
            rng = np.random.default_rng([seed, index])
            chosen = labelled[np.sort(rng.permutation(len(labelled))[:per_picture])]
            logits_KP = segmenter(as_image(sample.rgb, device, "channels_last"))[0].flatten(1)
            logits_PK = logits_KP[:, torch.from_numpy(chosen).to(device)].T.cpu()
            if not logits_PK.isfinite().all():
                raise DataError(
                    f"{sample.name}: the model's scores are not all finite numbers. Its weights are damaged."
                )
            parts.append((logits_PK, sample.labels.reshape(-1)[chosen], len(labelled) / max(1, len(chosen))))
            if progress is not None:
                progress(index + 1, len(dataset))
    counts = [len(labels) for _, labels, _ in parts]
    pixels = Pixels(
        torch.cat([logits for logits, _, _ in parts]).contiguous(),
        torch.from_numpy(np.concatenate([labels for _, labels, _ in parts]).astype(np.int64)),
        torch.from_numpy(np.repeat([weight for _, _, weight in parts], counts)),
    )
    return _Sample(pixels, np.repeat(np.arange(len(parts)), counts))


def judging_half(groups: Sequence[str], seed: int) -> NDArray[np.bool_]:
    """bool [N]: the pictures of the half that judges; whole groups where there are two or more."""
    names, group_N, pictures = np.unique(list(groups), return_inverse=True, return_counts=True)
    if len(names) == 1:
        return np.arange(len(group_N)) >= len(group_N) // 2
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-pictures[order], kind="stable")]  # the largest first, each to the smaller half
    judging: list[int] = []
    sizes = [0, 0]
    for group in order.tolist():
        side = int(sizes[1] < sizes[0])
        sizes[side] += int(pictures[group])
        judging += [group] * side
    return np.isin(group_N, judging)


def _fit(sample: _Sample, classes: int, classwise: bool) -> tuple[NDArray[np.float64], list[int], bool]:
    """float64 [K] temperatures by predicted class, the classes that take the common one, and whether that has a minimum."""
    everything = fit_temperatures(sample.pixels, np.zeros(len(sample.picture_P), np.int64), 1)
    common, settled = float(everything.temperatures_G[0]), bool(everything.settled_G[0])
    if not classwise:
        return np.full(classes, common), [], settled
    fitted = fit_temperatures(sample.pixels, sample.called_P, classes, start=common)
    own_K = fitted.settled_G & (np.bincount(sample.called_P, minlength=classes) >= CLASS_PIXELS)
    return np.where(own_K, fitted.temperatures_G, common), np.flatnonzero(~own_K).tolist(), settled


def _temperatures(sample: _Sample, temperatures_K: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(temperatures_K[sample.called_P])


def _rows(sample: _Sample, pictures: int, scaling_K: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """By picture: weighed pixels and their negative log-likelihood [N], and what ECE needs [N, B]."""
    logits_PK, labels_P, weights = sample.pixels
    temperatures_P, weights_P = _temperatures(sample, scaling_K), weights.numpy()
    said_P = confidences(logits_PK, temperatures_P)
    right_P = sample.called_P == labels_P.numpy()
    place_P = sample.picture_P * BINS + bin_of(said_P)

    def binned(values_P: NDArray[Any]) -> NDArray[np.float64]:
        counted = np.bincount(place_P, weights_P * values_P, pictures * BINS).reshape(pictures, BINS)
        return np.asarray(counted, np.float64)

    nll_P = -log_likelihoods(logits_PK, labels_P, temperatures_P).numpy()
    nll_N = np.asarray(np.bincount(sample.picture_P, weights_P * nll_P, pictures), np.float64)
    ones_P = np.ones_like(weights_P)
    return {"nll": nll_N, "pixels": binned(ones_P), "right": binned(right_P), "confidence": binned(said_P)}


def _nll(draws: Draws, rows: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Nats a pixel: of the set, then of each resample; NaN without pixels."""
    return ratio(draws.totals(rows["nll"]), draws.totals(rows["pixels"]).sum(1))


def _ece(draws: Draws, rows: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """0..1: of the set, then of each resample; NaN without pixels."""
    sums = [draws.totals(rows[name]) for name in ("pixels", "right", "confidence")]
    return np.array([Binned(*parts).ece for parts in zip(*sums, strict=True)])


def _ranked(sample: _Sample, temperatures_K: NDArray[np.float64]) -> RiskCoverage:
    said_P = confidences(sample.pixels.logits_PK, _temperatures(sample, temperatures_K))
    ranks_P = rank_of(((1 - said_P) / said_P).astype(np.float32))
    wrong_P = sample.called_P != sample.pixels.labels_P.numpy()
    weights_P = sample.pixels.weights_P.numpy()
    counts = (np.bincount(ranks_P, w, RANKS) for w in (weights_P, weights_P * wrong_P))
    pixels_F, wrong_F = (np.round(values).astype(np.int64) for values in counts)
    return RiskCoverage(pixels_F, np.minimum(wrong_F, pixels_F))
