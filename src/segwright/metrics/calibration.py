"""Is a model right as often as its confidence says?

Confidence is the largest softmax probability of a pixel. Pixels are sorted into BINS equal bins of confidence, each with
its lower edge, the last one with 1; in each bin the mean confidence is compared with the share of right pixels.

Source: Guo et al. 2017 (ECE, MCE, reliability diagram); Brier 1950. torchmetrics' MulticlassCalibrationError gives the
same ECE and MCE, but for confidences of exactly 1, which it keeps in a bin of their own.
Letters: N pictures, K classes, H W pixels, B bins, F bins of rank (`metrics.abstaining`), Z zones, P pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.contracts import IGNORE, DataError
from segwright.metrics.abstaining import RANKS, RiskCoverage, rank_of
from segwright.metrics.intervals import Draws
from segwright.metrics.measure import Arrays, Measure, Scored
from segwright.metrics.scores import ratio

BINS = 20
BORDER = 3
"""Pixels on each side of a true border that count as border."""
BLOCK = 1 << 20
"""Scores that are looked at together: 4 MB."""
ZONES = ("interior", "border")

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Certainty(NamedTuple):
    """What the scores of labelled pixels say; all [P].

    confidence: float32, largest probability, 0..1. others: float32, all other probabilities together over the largest.
    nll: float32, minus the natural logarithm of the true class's probability. brier: float32, sum over the classes of
    (probability − truth)², 0..2.
    """

    confidence: NDArray[np.float32]
    others: NDArray[np.float32]
    nll: NDArray[np.float32]
    brier: NDArray[np.float32]


def certainty(logits_KP: Tensor, labels_P: NDArray[np.integer[Any]]) -> Certainty:
    """logits: float32 [K, P], unnormalised. labels: [P], 0..K-1. A score that is not finite gives NaN or infinity."""
    truth_1P = torch.from_numpy(labels_P.astype(np.int64))[None].to(logits_KP.device)
    shifted_KP = logits_KP - logits_KP.amax(0)
    nll_P = -shifted_KP.gather(0, truth_1P)[0]
    powers_KP = shifted_KP.exp_()
    total_P = powers_KP.sum(0)
    nll_P += total_P.log()
    brier_P = powers_KP.square_().sum(0) / total_P.square() - 2 * (-nll_P).exp() + 1
    return Certainty(*(v.cpu().numpy() for v in (1 / total_P, total_P - 1, nll_P, brier_P)))


def confidence_map(logits_KHW: Tensor) -> Tensor:
    """float32 [K, H, W], unnormalised -> float32 [H, W]: the largest probability of each pixel, 0..1."""
    parts = [1 / (part - part.amax(0)).exp_().sum(0) for part in logits_KHW.split(_rows(logits_KHW), dim=1)]
    return torch.cat(parts)


def bin_of(confidence_P: NDArray[np.floating[Any]]) -> Counts:
    """The bin of each confidence, 0..BINS-1."""
    return np.minimum(confidence_P * np.float32(BINS), BINS - 1).astype(np.int64)


class Binned(NamedTuple):
    """Labelled pixels by bin of confidence: how many, how many of them right, and their confidences added. All [B]."""

    pixels_B: NDArray[Any]
    right_B: NDArray[Any]
    confidence_B: Floats

    @property
    def gaps_B(self) -> Floats:
        """Mean confidence minus share of right pixels, NaN in an empty bin."""
        with np.errstate(invalid="ignore"):
            return (self.confidence_B - self.right_B) / self.pixels_B

    @property
    def ece(self) -> float:
        """Expected calibration error, 0..1: the mean over pixels of the size of their bin's gap; NaN without pixels."""
        total = self.pixels_B.sum()
        return float(np.abs(self.confidence_B - self.right_B).sum() / total) if total else math.nan

    @property
    def mce(self) -> float:
        """Maximum calibration error, 0..1: the largest gap of a bin that has pixels; NaN without pixels."""
        return float(np.nanmax(np.abs(self.gaps_B))) if self.pixels_B.any() else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain data: None where undefined."""
        total = self.pixels_B.sum()
        sums = {"confidence": self.confidence_B.sum(), "accuracy": self.right_B.sum()}
        means = {name: plain(value / total if total else math.nan) for name, value in sums.items()}
        return {"pixels": int(total), **means, "ece": plain(self.ece), "mce": plain(self.mce)}


class Calibration(Measure):
    """Confidence against truth: of all labelled pixels, near true borders and inside, by predicted class.

    A pixel is near a border when another label, void too, lies within BORDER pixels of it in rows and columns.
    `result` holds ECE, MCE, negative log-likelihood (nats a pixel), Brier score, the bins of the reliability diagram,
    and the risk–coverage curve with its area (AURC), the bounds of what a full sort would give, and the least possible.
    Raises DataError naming the picture when a score is not a number.
    """

    name = "calibration"
    needs_logits = True
    needs_rgb = False

    def begin(self, pictures: int) -> dict[str, Any]:
        K = self.space.num_classes
        arrays: dict[str, Any] = {}
        for kind, rows in (("zone", len(ZONES)), ("class", K)):
            arrays |= {f"{kind}_{what}": np.zeros((pictures, rows, BINS), np.int64) for what in ("pixels", "right")}
            arrays[f"{kind}_confidence"] = np.zeros((pictures, rows, BINS))
        arrays |= {f"rank_{what}": np.zeros((pictures, RANKS), np.int64) for what in ("pixels", "wrong")}
        return arrays | {"nll": np.zeros(pictures), "brier": np.zeros(pictures)}

    def see(self, scored: Scored, arrays: Arrays) -> None:
        row = {name: values[scored.index] for name, values in arrays.items()}
        for found, labels_P, ids_P, border_P in _blocks(scored):
            if not np.isfinite(found.confidence).all():
                raise DataError(
                    f"{scored.name}: the model's scores are not all numbers (NaN or infinite), so they say nothing. Its "
                    "weights are damaged or its training diverged; use an older checkpoint."
                )
            right_P, bins_P, ranks_P = ids_P == labels_P, bin_of(found.confidence), rank_of(found.others)
            for kind, group_P in (("zone", border_P), ("class", ids_P)):
                _count(row, kind, group_P * np.int64(BINS) + bins_P, right_P, found.confidence)
            row["rank_pixels"] += np.bincount(ranks_P, minlength=RANKS)
            row["rank_wrong"] += np.bincount(ranks_P[~right_P], minlength=RANKS)
            arrays["nll"][scored.index] += found.nll.sum(dtype=np.float64)
            arrays["brier"][scored.index] += found.brier.sum(dtype=np.float64)

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        total = {name: values.sum(0) for name, values in arrays.items()}
        everything = _binned(total, "zone")
        pixels = int(everything.pixels_B.sum())
        ranked = RiskCoverage(total["rank_pixels"], total["rank_wrong"])
        return everything.to_dict() | {
            "ece_interval": _ece_interval(arrays, groups),
            "nll": plain(total["nll"] / pixels if pixels else math.nan),
            "brier": plain(total["brier"] / pixels if pixels else math.nan),
            "bins": _diagram(everything),
            "border_px": BORDER,
            "zones": {name: _binned(total, "zone", z).to_dict() for z, name in enumerate(ZONES)},
            "classes": {name: _binned(total, "class", k).to_dict() for k, name in enumerate(self.space.class_names)},
            "aurc": plain(ranked.area),
            "aurc_bounds": [plain(bound) for bound in ranked.bounds],
            "aurc_best": plain(ranked.best_area),
            "risk_coverage": [asdict(point) for point in ranked.thinned()],
        }


def near_border(labels_HW: NDArray[np.uint8], distance: int = BORDER) -> NDArray[np.uint8]:
    """uint8 [H, W]: 1 where another label, void too, lies within `distance` rows and columns; 0 elsewhere."""
    window = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    return (cv2.dilate(labels_HW, window) != cv2.erode(labels_HW, window)).view(np.uint8)


def plain(value: float) -> float | None:
    """A number for JSON: None where it is undefined or infinite."""
    return float(value) if math.isfinite(value) else None


def _blocks(scored: Scored) -> Iterator[tuple[Certainty, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Of the labelled pixels of some rows at a time: what the scores say, labels, ids, and whether near a border."""
    if scored.logits is None:
        raise ValueError("calibration needs the scores of every class")
    border_HW, rows = near_border(scored.labels), _rows(scored.logits)
    for top in range(0, len(scored.labels), rows):
        part = slice(top, top + rows)
        labels_HW = scored.labels[part]
        seen = labels_HW != IGNORE
        logits_KP = scored.logits[:, part].flatten(1)
        if not seen.all():
            logits_KP = logits_KP[:, torch.from_numpy(np.flatnonzero(seen)).to(logits_KP.device)]
        labels_P = labels_HW[seen]
        yield certainty(logits_KP, labels_P), labels_P, scored.ids[part][seen], border_HW[part][seen]


def _rows(logits_KHW: Tensor) -> int:
    return max(1, BLOCK // (logits_KHW.shape[0] * logits_KHW.shape[2]))


def _count(
    row: Mapping[str, NDArray[Any]],
    kind: str,
    place_P: Counts,
    right_P: NDArray[np.bool_],
    confidence_P: NDArray[np.float32],
) -> None:
    shape = row[f"{kind}_pixels"].shape
    size = math.prod(shape)
    found = {
        "pixels": np.bincount(place_P, minlength=size),
        "right": np.bincount(place_P[right_P], minlength=size),
        "confidence": np.bincount(place_P, confidence_P, minlength=size),
    }
    for what, values in found.items():
        row[f"{kind}_{what}"][...] += values.reshape(shape)


def _binned(total: Mapping[str, NDArray[Any]], kind: str, index: int | None = None) -> Binned:
    """Of one zone or class, or of all together."""
    parts = (total[f"{kind}_{what}"] for what in ("pixels", "right", "confidence"))
    return Binned(*(values.sum(0) if index is None else values[index] for values in parts))


def _ece_interval(arrays: Arrays, groups: Sequence[str]) -> dict[str, Any] | None:
    """What ECE could be with other pictures; None without labelled pixels."""
    if not arrays["zone_pixels"].any():
        return None
    draws = Draws(len(arrays["zone_pixels"]), groups)
    right_RB, confidence_RB, pixels_RB = (
        draws.totals(arrays[f"zone_{what}"].sum(1)) for what in ("right", "confidence", "pixels")
    )
    found = draws.interval(ratio(np.abs(confidence_RB - right_RB).sum(1), pixels_RB.sum(1)))
    return {"low": plain(found.low), "high": plain(found.high), "conditions": found.conditions}


def _diagram(binned: Binned) -> list[dict[str, Any]]:
    with np.errstate(invalid="ignore"):
        accuracy_B, confidence_B = binned.right_B / binned.pixels_B, binned.confidence_B / binned.pixels_B
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "pixels": int(binned.pixels_B[b]),
            "confidence": plain(confidence_B[b]),
            "accuracy": plain(accuracy_B[b]),
        }
        for b in range(BINS)
    ]
