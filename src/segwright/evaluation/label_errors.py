"""Where labels are probably wrong: regions in which a model is sure of another class than the label's.

A region is a connected set of pixels (corners touch) with one label and one other answer of the model. Only its core
counts: pixels whose whole 5×5 neighbourhood has the same label and the same answer, so that the inexact borders that every
mask has do not lead the list. Its score is

    pixels of the core × mean probability of the model's answer × (1 − mean probability of the label)

in pixels: how many of them the model would change with full conviction. The region itself is the core grown back by the
same 2 pixels. Beyond the picture's edge nothing is asked for, so regions at the edge are not worn away from there.

Source: own definition, after the self-confidence of Northcutt, Jiang & Chuang 2021 (confident learning).
Letters: N pictures, K classes, H W pixels, P pixels of cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, Dataset
from segwright.evaluation.hardest import Box
from segwright.inference.ahead import Progress
from segwright.inference.measure import measure
from segwright.inference.predictor import Predictor
from segwright.labels import LabelSpace
from segwright.metrics.measure import Arrays, Measure, Scored

if TYPE_CHECKING:
    from segwright.evaluation.label_sources import Part

BORDER = 2
"""Pixels that are worn off all around a region to find its core."""
AGREED = 65535
"""The key of pixels that are no error: label and answer agree, or the label is IGNORE."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class LabelRegion:
    """A region whose label is doubted.

    rank: 1 for the highest score. part: the split or fold that was searched. truth, predicted: class ids of the label and of
    the model's answer. box: around the region. runs: which pixels of the box belong to it, see `runs_of`. pixels: of the
    region; core: those that counted. confidence, given: mean probability of the model's answer and of the label in the
    core, 0..1. score: pixels, see the top of this file.
    """

    rank: int
    part: str
    picture: str
    truth: int
    predicted: int
    box: Box
    runs: tuple[int, ...]
    pixels: int
    core: int
    confidence: float
    given: float
    score: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool [h, w]: the region within its box."""
        return mask_of(self.runs, self.box.bottom - self.box.top, self.box.right - self.box.left)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, from which `from_dict` makes an equal region."""
        return asdict(self) | {"box": list(self.box), "runs": list(self.runs)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> LabelRegion:
        """Raises KeyError, TypeError or ValueError for content of another form."""
        box = Box(*map(int, content["box"]))
        runs = tuple(int(v) for v in content["runs"])
        found = cls(**content | {"box": box, "runs": runs})
        if min(box.top, box.left, *runs) < 0 or sum(runs) != (box.bottom - box.top) * (box.right - box.left):
            raise ValueError(f"the pixels of region {found.rank} do not fill its box")
        return found


@dataclass(frozen=True, kw_only=True)
class Searched:
    """regions: the best `top` of all that were found, the highest score first. found: how many there were in all.
    pictures: looked at. wrong, labelled: pixels of them."""

    regions: tuple[LabelRegion, ...]
    found: int
    pictures: int
    wrong: int
    labelled: int


def runs_of(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """bool [h, w] -> lengths of runs of equal pixels, row by row, in turn outside and inside, outside first (maybe 0)."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return tuple([0, *lengths] if flat.size and flat[0] else lengths)


def mask_of(runs: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """The mask bool [height, width] of `runs_of`."""
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(height, width)


class RegionSearch(Measure):
    """Collects the best `top` regions of all pictures that it sees; `regions` has them, best first.

    part: what to call the pictures together. found: how many regions there were.
    """

    name = "label-errors"
    needs_logits = True

    def __init__(self, space: LabelSpace, *, part: str, top: int) -> None:
        super().__init__(space)
        self.part, self.top, self.found = part, top, 0
        self._kept: list[LabelRegion] = []

    @property
    def regions(self) -> tuple[LabelRegion, ...]:
        return best_regions(self._kept, self.top)

    def begin(self, pictures: int) -> dict[str, Any]:
        return {"regions": np.zeros(pictures, np.int64)}

    def see(self, scored: Scored, arrays: Arrays) -> None:
        regions, found = picture_regions(scored, part=self.part, top=self.top)
        arrays["regions"][scored.index] = found
        self.found += found
        self._kept += regions
        if len(self._kept) > 4 * self.top:
            self._kept = list(self.regions)

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        return {"regions": int(arrays["regions"].sum())}


def picture_regions(scored: Scored, *, part: str, top: int) -> tuple[list[LabelRegion], int]:
    """The best `top` regions of one picture (their rank is still 0), and how many it has in all.

    scored: with logits. Raises DataError naming the picture for logits that are not finite.
    """
    labels_HW, ids_HW = scored.labels, scored.ids
    wrong = (labels_HW != ids_HW) & (labels_HW != IGNORE)
    keys_HW = np.where(wrong, labels_HW.astype(np.uint16) * 256 + ids_HW, AGREED).astype(np.uint16)
    window = np.ones((2 * BORDER + 1, 2 * BORDER + 1), np.uint8)
    # A pixel of the core has one key all around it, so cores of two keys never touch: one labelling finds them all.
    core = wrong & (cv2.erode(keys_HW, window) == cv2.dilate(keys_HW, window))
    count, places_HW, stats, _ = cv2.connectedComponentsWithStats(core.astype(np.uint8), connectivity=8)
    if count < 2:  # component 0 is everything else
        return [], 0
    where_P = np.flatnonzero(core)
    owner_P = places_HW.ravel()[where_P]
    confidence_P, given_P = _probabilities(scored, where_P)
    size = np.bincount(owner_P, minlength=count)
    confidence, given = (
        np.bincount(owner_P, values, minlength=count)[1:] / size[1:] for values in (confidence_P, given_P)
    )
    score = size[1:] * confidence * (1 - given)
    first = np.zeros(count, np.int64)
    first[owner_P] = where_P  # any one pixel of each
    regions = []
    for place in np.argsort(-score, kind="stable")[:top].tolist():
        left, top_row, width, height = stats[place + 1, :4].tolist()
        key = int(keys_HW.ravel()[first[place + 1]])
        box = _wider(Box(top_row, left, top_row + height, left + width), labels_HW.shape)
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        own_core = (places_HW[rows, columns] == place + 1).astype(np.uint8)
        mask = (cv2.dilate(own_core, window) > 0) & (keys_HW[rows, columns] == key)
        regions.append(
            LabelRegion(
                rank=0,
                part=part,
                picture=scored.name,
                truth=key // 256,
                predicted=key % 256,
                box=box,
                runs=runs_of(mask),
                pixels=int(mask.sum()),
                core=int(size[place + 1]),
                confidence=float(confidence[place]),
                given=float(given[place]),
                score=float(score[place]),
            )
        )
    return regions, count - 1


def _probabilities(scored: Scored, where_P: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the model's answer and of the label, at the given pixels."""
    if scored.logits is None:
        raise ValueError("label errors are ranked by probabilities: the logits are missing")
    where = torch.from_numpy(where_P).to(scored.logits.device)
    shares_KP = scored.logits.flatten(1)[:, where].softmax(0)
    if not bool(shares_KP.isfinite().all()):
        raise DataError(f"{scored.name}: the model's scores are not finite. Train it again, or choose another model.")
    picked = []
    for ids_HW in (scored.ids, scored.labels):
        rows = torch.from_numpy(ids_HW.ravel()[where_P].astype(np.int64)).to(where.device)
        picked.append(shares_KP.gather(0, rows[None])[0].double().cpu().numpy())
    return picked[0], picked[1]


def _wider(box: Box, shape: tuple[int, ...]) -> Box:
    """BORDER more on every side, within the picture."""
    height, width = shape[:2]
    top, left = max(0, box.top - BORDER), max(0, box.left - BORDER)
    return Box(top, left, min(height, box.bottom + BORDER), min(width, box.right + BORDER))


def best_regions(regions: Sequence[LabelRegion], top: int) -> tuple[LabelRegion, ...]:
    """The best `top`, ranked from 1; of equal scores the one whose part, picture and place come first."""
    ordered = sorted(regions, key=lambda r: (-r.score, r.part, r.picture, r.box, r.truth, r.predicted))[:top]
    return tuple(replace(region, rank=rank) for rank, region in enumerate(ordered, start=1))


def search(parts: Sequence[Part], *, top: int, device: str = "cpu", progress: Progress | None = None) -> Searched:
    """The best `top` regions of all parts, each part looked at by its own model.

    Pictures are predicted one at a time at their original size. Raises what `measure` raises.
    """
    regions: list[LabelRegion] = []
    found = seen = wrong = labelled = 0
    total = sum(len(part.dataset) for part in parts)
    for part in parts:
        segmenter = part.load()
        looking = RegionSearch(segmenter.labels, part=part.name, top=top)
        measured = measure(
            segmenter,
            part.dataset,
            device=device,
            memory_format="channels_last",
            measures=[looking],
            progress=_shifted(progress, seen, total),
        )
        regions += looking.regions
        found += looking.found
        seen += len(part.dataset)
        labelled += int(measured.counts_NKK.sum())
        wrong += int(measured.counts_NKK.sum() - np.einsum("nkk->", measured.counts_NKK))
    return Searched(regions=best_regions(regions, top), found=found, pictures=total, wrong=wrong, labelled=labelled)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


@dataclass(frozen=True, kw_only=True)
class Look:
    """A region with its picture. image: uint8 [H, W, 3]; truth, prediction: uint8 [H, W]."""

    region: LabelRegion
    image: Pixels
    truth: Pixels
    prediction: Pixels


def looked_at(
    parts: Sequence[Part], regions: Sequence[LabelRegion], *, device: str = "cpu", progress: Progress | None = None
) -> Iterator[Look]:
    """The pictures of regions, predicted again, one picture at a time; part by part, not by rank."""
    done = 0
    for part in parts:
        own = sorted((r for r in regions if r.part == part.name), key=lambda r: (r.picture, r.rank))
        if not own:
            continue
        predictor = Predictor(part.load(), device=device, memory_format="channels_last")
        place = {name: index for index, name in enumerate(part.dataset.names)}
        for name, here in groupby(own, key=lambda r: r.picture):
            image, truth = _picture(part.dataset, place[name])
            prediction = predictor.predict(image)
            for region in here:
                yield Look(region=region, image=image, truth=truth, prediction=prediction)
                done += 1
                if progress is not None:
                    progress(done, len(regions))


def _picture(dataset: Dataset, index: int) -> tuple[Pixels, Pixels]:
    sample = dataset[index]
    if sample.labels is None:
        raise DataError(f"{sample.name} has no mask any more. Search again.")
    return sample.rgb, sample.labels
