"""What "mean IoU" leaves open, as a handful of choices, and the way from one set of choices to another.

Letters: N pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segwright.metrics.scores import Floats, mean_defined, ratio

Ints = NDArray[np.int64]
Classes = Literal["union", "truth", "all", "gapless"]
Unit = Literal["set", "class", "picture"]
Weights = Literal["equal", "truth", "union"]


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The choices behind a mean IoU.

    classes: which ones the mean counts: `union`, those in truth or prediction; `truth`, those with true pixels; `all`,
    every class, one without true pixels counts 0; `gapless`, every class, and one that is in neither makes it undefined.
    void: whether a class predicted on a void pixel is a false one. resized: prediction and mask made smaller first.
    unit: where IoU is taken: of all pictures together; of each picture, averaged over pictures for each class; of each
    picture, averaged over its classes. weights: of the classes in the mean; `union` is micro IoU.
    without: ids of classes whose true pixels count nowhere.
    """

    classes: Classes = "union"
    void: bool = False
    resized: bool = False
    unit: Unit = "set"
    weights: Weights = "equal"
    without: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """One change of definition. change: what it adds, in units of 1; None where a score is undefined."""

    text: str
    change: float | None


@dataclass(frozen=True)
class Seen:
    """Rows of one size: counts_NKK [truth, predicted], missed_NK true pixels that got no class, void_NK predictions on void."""

    counts_NKK: Ints
    missed_NK: Ints
    void_NK: Ints


def score(definition: Definition, seen: Seen) -> float:
    """Mean IoU under a definition, 0..1; NaN where undefined. `seen` is of the size that the definition asks for."""
    hits_NK, truth_NK, union_NK = _areas(definition, seen)
    kept = [k for k in range(hits_NK.shape[1]) if k not in definition.without]
    hits_NK, truth_NK, union_NK = hits_NK[:, kept], truth_NK[:, kept], union_NK[:, kept]
    if not truth_NK.any():
        return float("nan")
    hits_K, truth_K, union_K = hits_NK.sum(0), truth_NK.sum(0), union_NK.sum(0)
    if definition.weights == "union":
        return float(hits_K.sum() / union_K.sum())
    if definition.weights == "truth":
        return float((ratio(hits_K, union_K)[truth_K > 0] * truth_K[truth_K > 0]).sum() / truth_K.sum())
    if definition.unit == "set":
        return _mean(_counted(hits_K, truth_K, union_K, definition.classes), definition.classes)
    iou_NK = _counted(hits_NK, truth_NK, union_NK, definition.classes)
    axis_first = iou_NK.T if definition.unit == "class" else iou_NK
    return mean_defined(np.array([_mean(values, definition.classes) for values in axis_first]))


def _areas(definition: Definition, seen: Seen) -> tuple[Ints, Ints, Ints]:
    """Hits, true pixels and union, int64 [N, K] each."""
    counts_NKK, missed_NK, false_NK = seen.counts_NKK, seen.missed_NK, seen.void_NK
    if definition.without:
        rows = list(definition.without)
        false_NK = false_NK + counts_NKK[:, rows].sum(1)
        counts_NKK, missed_NK = counts_NKK.copy(), missed_NK.copy()
        counts_NKK[:, rows] = 0
        missed_NK[:, rows] = 0
    hits_NK = np.diagonal(counts_NKK, axis1=1, axis2=2)
    truth_NK = counts_NKK.sum(2) + missed_NK
    predicted_NK = counts_NKK.sum(1) + (false_NK if definition.void else 0)
    return hits_NK, truth_NK, truth_NK + predicted_NK - hits_NK


def _counted(hits: Ints, truth: Ints, union: Ints, classes: Classes) -> Floats:
    """IoU of the classes that the mean counts, NaN for the others."""
    iou = ratio(hits, union)
    if classes == "truth":
        return np.where(truth > 0, iou, np.nan)
    return np.where(truth > 0, iou, 0.0) if classes == "all" else iou


def _mean(values: Floats, classes: Classes) -> float:
    return float(values.mean()) if classes == "gapless" else mean_defined(values)


def chain(start: Definition, goal: Definition, seen: Mapping[bool, Seen]) -> tuple[Step, ...]:
    """From one definition to another, one choice at a time. seen: by whether it is resized.

    The changes add up to the difference of the two scores. Choices that change nothing in between are left out.
    """
    steps: list[Step] = []
    value = score(start, seen[start.resized])
    for following, text in _path(start, goal):
        there = score(following, seen[following.resized])
        change = None if np.isnan(there) or np.isnan(value) else there - value
        if change != 0 or following == goal:
            steps.append(Step(text, change))
        value = there
    return tuple(steps)


_UNITS: tuple[Unit, ...] = ("set", "class", "picture")
_WEIGHTS: tuple[Weights, ...] = ("equal", "truth", "union")
_UNIT_TEXT = {
    "set": "the pixels of all pictures are counted together",
    "class": "IoU is taken in each picture, and of each class averaged over the pictures",
    "picture": "the mean over classes is taken in each picture, before that over pictures",
}
_WEIGHT_TEXT = {
    "equal": "every class weighs alike",
    "truth": "classes weigh as many pixels as they truly have",
    "union": "classes weigh as many pixels as their union has",
}
_CLASS_TEXT = {
    "union": "the mean is over the classes in truth or prediction",
    "truth": "classes without true pixels leave the mean",
    "all": "a class without true pixels counts 0",
    "gapless": "a class in neither truth nor prediction makes the mean undefined",
}


def _path(start: Definition, goal: Definition) -> list[tuple[Definition, str]]:
    here = start
    path: list[tuple[Definition, str]] = []

    def go(text: str, **changed: Any) -> None:
        nonlocal here
        here = replace(here, **changed)
        path.append((here, text))

    if here.without != goal.without:
        other = len(set(here.without) ^ set(goal.without))
        what = "count nowhere" if goal.without else "count"
        go(f"true pixels of {other} classes that Cityscapes does not evaluate {what}", without=goal.without)
    if here.resized != goal.resized:
        go("prediction and mask are resized first" if goal.resized else "at original size", resized=goal.resized)
    if here.void != goal.void:
        text = "false pixels of the class that is predicted there" if goal.void else "counted nowhere"
        go(f"void pixels are {text}", void=goal.void)
    if here.classes != goal.classes:
        go(_CLASS_TEXT[goal.classes], classes=goal.classes)
    for unit in _between(_UNITS, here.unit, goal.unit):
        go(_UNIT_TEXT[unit], unit=unit)
    for weights in _between(_WEIGHTS, here.weights, goal.weights):
        go(_WEIGHT_TEXT[weights], weights=weights)
    return path


def _between(order: Sequence[Any], start: Any, goal: Any) -> list[Any]:
    """What comes after `start` on the way to `goal`, itself included."""
    a, b = order.index(start), order.index(goal)
    return list(order[a + 1 : b + 1]) if b >= a else list(order[b:a][::-1])
