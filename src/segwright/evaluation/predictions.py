"""Scoring a folder of prediction files made elsewhere, by the same counts and measures as a model's.

Files are read and counted in threads; each fills its own rows, so results do not depend on how many there are, and at
most one picture a thread is in memory.
Letters: N pictures, K classes, H W pixels.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, Dataset, Sample, UserError
from segwright.data.mixing import Relabelled
from segwright.data.pairs import PairedFiles, refuse
from segwright.evaluation.evaluate import no_labels, with_protocol
from segwright.evaluation.measures import fitting_measures
from segwright.evaluation.prediction_files import (
    READINGS,
    Coding,
    match_files,
    read_prediction,
    unlisted_values,
)
from segwright.evaluation.result import Evaluation
from segwright.inference.ahead import Progress
from segwright.labels import LabelSpace
from segwright.labels.space import UNLISTED, look_up
from segwright.metrics.confusion import value_counts
from segwright.metrics.measure import Measure, Scored
from segwright.metrics.protocols import Protocol, find_protocol
from segwright.metrics.scores import scores
from segwright.names import did_you_mean

CLEARLY = 0.05
"""How much better (mIoU, 0..1) the other reading of a folder must be, and twice as good, to be what was meant."""
REMEDY = (
    "A prediction is a one-channel PNG of the picture's size, one for each picture of the split, with label ids, or with "
    "class ids 0..K-1 (--prediction-ids train); or it has the colours of the label space."
)


def evaluate_predictions(
    folder: Path,
    dataset: Dataset,
    space: LabelSpace,
    *,
    split: str,
    ids: str | None = None,
    protocol: str = "pooled",
    measures: Sequence[str] = (),
    extra: Sequence[Measure] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score prediction files on a split whose labels are in `space`.

    ids: `label`, files hold label ids as the masks do; `train`, class ids 0..K-1 and 255 for no class; None: label ids, and
    a folder that is clearly meant the other way is refused. Files of colours need no such word. A pixel that a file gives
    to an ignored label is a miss of its true class.
    measures: names in MEASURES; those that need logits are left out, and where files give pixels to no class, those too
    that need one everywhere. extra: further measures. threads: one a core (at most 8) when None.
    Raises UserError for unknown names and a missing folder; one DataError that lists every fault of every file.
    """
    rule = find_protocol(protocol).for_space(space)
    rule.check(space)
    if ids is not None and ids not in READINGS:
        raise UserError(f"--prediction-ids {ids}: allowed are label and train.{did_you_mean(ids, READINGS)}")
    if not space.exclusive:
        raise UserError(f"label space '{space.name}' is multi-label; only exclusive spaces can be scored.")
    if len(dataset) == 0:
        raise DataError(f"split '{split}' has no pictures: there is nothing to score. Choose another split.")
    started = time.perf_counter()
    matches = match_files(dataset.names, folder)
    if not matches.files:
        refuse(folder, matches.problems, REMEDY)
    chosen = [*fitting_measures(with_protocol(measures, rule), space, dataset, logits=False), *extra]
    tally = _Tally(dataset, space, rule, ids, chosen)
    indices = [i for i, name in enumerate(dataset.names) if name in matches.files]
    faults = list(matches.problems)

    def work(index: int) -> str | None:
        return tally.see(index, matches.files[dataset.names[index]])

    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), thread_name_prefix="score") as pool:
        try:
            for done, fault in enumerate(pool.map(work, indices), 1):
                faults += [] if fault is None else [fault]
                if progress is not None:
                    progress(done, len(indices))
        finally:
            pool.shutdown(cancel_futures=True)
    tally.check_reading(folder)
    refuse(folder, faults, REMEDY)
    return tally.evaluation(folder, split, time.perf_counter() - started)


@dataclass
class _Seen:
    """Counts of one picture under one reading. unlisted: what the reading has no meaning for, empty when all is well."""

    counts_KK: NDArray[np.int64]
    missed_K: NDArray[np.int64]
    unlisted: str


class _Tally:
    """Rows of all pictures, under the reading that is scored and, to compare, totals under the other one."""

    def __init__(
        self, dataset: Dataset, space: LabelSpace, rule: Protocol, ids: str | None, measures: Sequence[Measure]
    ) -> None:
        pictures, classes = len(dataset), space.num_classes
        self.dataset, self.space, self.rule, self.measures = dataset, space, rule, measures
        self.told = ids is not None
        self.coding = Coding(space, ids or "label")
        self.other = Coding(space, "train" if self.coding.reading == "label" else "label")
        self.counts_NKK = np.zeros((pictures, classes, classes), np.int64)
        self.missed_NK = np.zeros((pictures, classes), np.int64)
        self.ignored_N = np.zeros(pictures, np.int64)
        self.void_N = np.zeros(pictures, bool)  # pictures with a pixel of no class
        self.other_NKK = np.zeros_like(self.counts_NKK)
        self.other_missed_NK = np.zeros_like(self.missed_NK)
        self.readable_N = np.zeros((pictures, 2), bool)  # under this reading, under the other
        self.numbers_N = np.zeros(pictures, bool)  # files of numbers, not of colours
        self.arrays: dict[str, dict[str, Any]] = {one.name: one.begin(pictures) for one in measures}
        self.with_rgb = any(one.needs_rgb for one in measures)

    def see(self, index: int, path: Path) -> str | None:
        """Read and count one picture. Returns what is wrong with its file, or None."""
        sample = _truth(self.dataset, index, self.with_rgb)
        if sample.labels is None:
            raise DataError(f"{sample.name} has no mask: only labelled pictures can be scored.")
        try:
            raw = read_prediction(path, (sample.labels.shape[0], sample.labels.shape[1]))
        except DataError as error:
            return str(error)
        if raw.ndim == 3:
            return self._see_colors(index, path, raw, sample, sample.labels)
        self.numbers_N[index] = True
        counts = value_counts(torch.from_numpy(sample.labels), torch.from_numpy(raw)).numpy()
        own, other = (_folded(counts, coding.table, self.space.num_classes) for coding in (self.coding, self.other))
        self.other_NKK[index], self.other_missed_NK[index] = other.counts_KK, other.missed_K
        self.readable_N[index] = not own.unlisted, not other.unlisted
        if own.unlisted:
            return (
                f"{path}: found {own.unlisted}, which label space '{self.space.name}' does not list ({self._allowed()})"
            )
        labelled = self.coding.reading == "label" and self.space.encoding == "index"
        ids = look_up(raw, self.coding.table)
        self._fill(index, own, sample, sample.labels, ids, (raw, counts) if labelled else (None, None))
        return None

    def _see_colors(
        self, index: int, path: Path, raw: NDArray[np.uint8], sample: Sample, labels: NDArray[np.uint8]
    ) -> str | None:
        ids = self.coding.of_colors(raw)
        wrong = int((ids == UNLISTED).sum())
        if wrong:
            first = raw[tuple(np.argwhere(ids == UNLISTED)[0])].tolist()
            return f"{path}: the file holds colours, and {wrong} px have none of '{self.space.name}', such as {first}"
        counts = value_counts(torch.from_numpy(labels), torch.from_numpy(np.ascontiguousarray(ids))).numpy()
        identity = np.arange(256, dtype=np.uint8)
        self._fill(index, _folded(counts, identity, self.space.num_classes), sample, labels, ids)
        return None

    def _fill(
        self,
        index: int,
        seen: _Seen,
        sample: Sample,
        labels: NDArray[np.uint8],
        ids: NDArray[np.uint8],
        raw: tuple[NDArray[np.uint8] | None, NDArray[np.int64] | None] = (None, None),
    ) -> None:
        self.counts_NKK[index], self.missed_NK[index] = seen.counts_KK, seen.missed_K
        self.ignored_N[index] = labels.size - seen.counts_KK.sum() - seen.missed_K.sum()
        self.void_N[index] = bool(seen.missed_K.any()) or bool((ids == IGNORE).any())
        scored = Scored(
            index=index,
            name=sample.name,
            rgb=sample.rgb,
            labels=labels,
            ids=ids,
            instances=sample.instances,
            raw=raw[0],
            raw_counts=raw[1],
        )
        for one in self.measures:
            if one.takes_void or not self.void_N[index]:
                one.see(scored, self.arrays[one.name])

    def _allowed(self) -> str:
        listed = np.flatnonzero(self.coding.table != UNLISTED).tolist()
        kind = "label ids" if self.coding.reading == "label" and self.space.encoding == "index" else "class ids"
        return f"{kind} {', '.join(map(str, listed[:8]))}{', …' if len(listed) > 8 else ''}"

    def check_reading(self, folder: Path) -> None:
        """Raises DataError when nobody said how to read the numbers, and the other reading is clearly what was meant."""
        if self.told or not self.numbers_N.any() or np.array_equal(self.coding.table, self.other.table):
            return
        own_valid, other_valid = (bool(column.all()) for column in self.readable_N[self.numbers_N].T)
        found = [
            find_protocol("pooled").mean_iou(scores(counts.sum(0), missed.sum(0)))
            for counts, missed in (
                (self.counts_NKK, self.missed_NK),
                (self.other_NKK, self.other_missed_NK),
            )
        ]
        own, other = np.nan_to_num(found)
        if not other_valid or (own_valid and not (other > own + CLEARLY and other > 2 * own)):
            return
        if not own_valid and other <= CLEARLY:
            return
        otherwise = f"else {100 * own:.1f} %" if own_valid else "else some numbers have no meaning"
        kinds = {"label": "label ids", "train": "class ids (train ids)"}
        raise DataError(
            f"{folder}: the files seem to hold {kinds[self.other.reading]}, not {kinds[self.coding.reading]}: read so, the "
            f"pooled mIoU is {100 * other:.1f} %, {otherwise}. Add --prediction-ids {self.other.reading}; or, if "
            f"they really hold {kinds[self.coding.reading]}, --prediction-ids {self.coding.reading}."
        )

    def evaluation(self, folder: Path, split: str, seconds: float) -> Evaluation:
        counts_NKK, missed_NK = self.rule.without_void(self.counts_NKK), self.missed_NK.copy()
        missed_NK[:, list(self.rule.void)] = 0
        if not counts_NKK.any() and not missed_NK.any():
            raise no_labels(split, len(self.dataset))
        kept = [one for one in self.measures if one.takes_void or not self.void_N.any()]
        groups = tuple(self.dataset.groups)
        dropped = (self.counts_NKK - counts_NKK).sum((1, 2)) + (self.missed_NK - missed_NK).sum(1)
        return Evaluation(
            run=folder.name,
            checkpoint="prediction files",
            split=split,
            protocol=self.rule.name,
            space=self.space,
            names=tuple(self.dataset.names),
            groups=groups,
            counts_NKK=counts_NKK,
            ignored_N=self.ignored_N + dropped,
            seconds=seconds,
            missed_NK=missed_NK if missed_NK.any() else None,
            measures={one.name: one.result(self.arrays[one.name], groups) for one in kept},
            arrays={f"{one.name}.{key}": rows for one in kept for key, rows in self.arrays[one.name].items()},
        )


def _folded(counts: NDArray[np.int64], table: NDArray[np.uint8], classes: int) -> _Seen:
    """Counts [label value, file value] as counts of classes, by what a table says of each file value."""
    found = np.zeros((classes, 256), np.int64)
    np.add.at(found.T, table, counts[:classes].T)
    return _Seen(found[:, :classes], found[:, IGNORE].copy(), unlisted_values(counts.sum(0), table))


def _truth(dataset: Dataset, index: int, with_rgb: bool) -> Sample:
    """A sample, of files on disk without decoding the picture unless it is wanted: rgb is then [0, 0, 3]."""
    if with_rgb:
        return dataset[index]
    if isinstance(dataset, Relabelled):
        sample = _truth(dataset.source, index, with_rgb)
        return sample if sample.labels is None else replace(sample, labels=look_up(sample.labels, dataset.table))
    if not isinstance(dataset, PairedFiles):
        return dataset[index]
    pair = dataset.pairs[index]
    labels = dataset.labels.encode(dataset.read_raw(pair), source=pair.mask)
    instances = None if pair.instances is None else dataset.read_instances(pair.instances)
    if instances is not None and instances.shape != labels.shape:
        raise DataError(f"{pair.instances}: the instance map and the mask {pair.mask} differ in size.")
    return Sample(name=pair.name, planes={"rgb": np.zeros((0, 0, 3), np.uint8)}, labels=labels, instances=instances)
