"""Proof that picture and mask move together: probe pictures whose colour tells their label go through an augmentation.

Three probes: cells of flat colour, one colour a label; and two ramps, along rows and along columns, whose red value is
twice the label, so that a shift of a fraction of a pixel shows. Operations that only change colours are left out for
this (`geometry()`): they do not touch masks, which is checked on the whole augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, Sample
from segwright.data.augment import Augment
from segwright.data.augment.params import Pixels, sample_rng
from segwright.data.augment.partners import ClassIndex, count_classes, labels_of

AGREEMENT = 0.99
"""Share of the pixels away from edges whose colour has to tell their label."""
SHIFT = 0.8
"""Pixels of the stored picture: half of one for nearest neighbour, a quarter for 8-bit red, the rest for rounding.

A pipeline that resamples the mask several times in a row adds up as many of them, each in the pixels of its step."""
BLUE = 200
"""The probes' blue value everywhere, so that fill of any other colour shows."""
LABELS = 11
"""Of the cells; the last ones are rarer."""
TOP = 119
"""The largest label of a ramp."""
POOL = 4
"""Probes of one kind."""


class ProbePool:
    """Probes of one kind as the pool of their own augmentation."""

    def __init__(self, kind: str, stored: tuple[int, int]) -> None:
        self.samples = [_PROBES[kind](stored, number) for number in range(POOL)]
        self._index: ClassIndex | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int) -> Sample:
        return self.samples[index]

    def class_index(self) -> ClassIndex:
        self._index = self._index or count_classes(self)
        return self._index


def check_pipeline(augmentation: Augment, *, stored: tuple[int, int] | None = None, draws: int = 24) -> list[str]:
    """What is wrong with an augmentation, one sentence each; empty when picture and mask move together.

    stored: (height, width) of the pictures that it is meant for; a quarter larger than its size by default.
    draws: random draws of each of the three probes.
    Raises what the augmentation raises.
    """
    h, w = augmentation.size
    shape = stored or (round(1.25 * h), round(1.25 * w))
    problems: dict[str, str] = {}
    for kind in _PROBES:
        pool = ProbePool(kind, shape)
        moving = augmentation.geometry()
        for draw in range(draws):
            probe = pool.sample(draw % POOL)
            found = _whole(augmentation, probe, pool, draw) or _moved(kind, moving, probe, pool, draw)
            for name, sentence in found.items():
                problems.setdefault(name, f"probe '{kind}', draw {draw}: {sentence}")
    return list(problems.values())


def _cells(stored: tuple[int, int], number: int) -> Sample:
    cell = max(8, min(stored) // 8)
    grid = (-(-stored[0] // cell), -(-stored[1] // cell))
    likely = np.arange(LABELS, 0, -1, dtype=float)
    drawn = np.random.default_rng(number).choice(LABELS, grid, p=likely / likely.sum()).astype(np.uint8)
    labels = drawn.repeat(cell, 0).repeat(cell, 1)[: stored[0], : stored[1]]
    return _probe(f"cells {number}", np.ascontiguousarray(labels), 20)


def _rows(stored: tuple[int, int], number: int) -> Sample:
    wave = np.abs((np.arange(stored[0]) + 60 * number) % (2 * TOP) - TOP)
    return _probe(f"rows {number}", np.tile(wave[:, None], (1, stored[1])), 2)


def _columns(stored: tuple[int, int], number: int) -> Sample:
    wave = np.abs((np.arange(stored[1]) + 60 * number) % (2 * TOP) - TOP)
    return _probe(f"columns {number}", np.tile(wave, (stored[0], 1)), 2)


def _probe(name: str, labels: NDArray[np.integer], step: int) -> Sample:
    """Red is `step` times the label, green the rest to 255, blue always the same."""
    ids = labels.astype(np.uint8)
    rgb = np.stack([ids * step, 255 - ids * step, np.full_like(ids, BLUE)], -1)
    return Sample(name=name, planes={"rgb": rgb}, labels=ids)


_PROBES: Mapping[str, Callable[[tuple[int, int], int], Sample]] = {"cells": _cells, "rows": _rows, "columns": _columns}


def _whole(augmentation: Augment, probe: Sample, pool: ProbePool, draw: int) -> dict[str, str]:
    """Sizes, types, ids, and the same result twice, of the whole augmentation."""
    before = [probe.rgb.copy(), labels_of(probe).copy()]
    image, labels = augmentation(probe, sample_rng(0, 0, draw), pool)
    again = augmentation(probe, sample_rng(0, 0, draw), pool)
    found: dict[str, str] = {}
    if image.shape != (*augmentation.size, 3) or labels.shape != augmentation.size:
        found["size"] = f"gives {image.shape} and {labels.shape} where {augmentation.size} is asked for"
    if image.dtype != np.uint8 or labels.dtype != np.uint8:
        found["type"] = f"gives {image.dtype} and {labels.dtype} where both are to be uint8"
    known = {label for one in pool.samples for label in np.unique(labels_of(one)).tolist()} | {IGNORE}
    if invented := sorted(set(np.unique(labels).tolist()) - known):
        found["ids"] = f"the mask holds labels that no probe has: {invented[:8]}"
    if not (np.array_equal(image, again[0]) and np.array_equal(labels, again[1])):
        found["repeat"] = "the same random numbers give another result"
    if not (np.array_equal(before[0], probe.rgb) and np.array_equal(before[1], labels_of(probe))):
        found["source"] = "the sample itself was changed"
    return found


def _moved(kind: str, moving: Augment, probe: Sample, pool: ProbePool, draw: int) -> dict[str, str]:
    """Whether colour and label still belong together, and fill to IGNORE."""
    image, labels = moving(probe, sample_rng(0, 0, draw), pool)
    fill = np.abs(image[..., 2].astype(int) - BLUE) > 30
    found: dict[str, str] = {}
    if stray := int(_grown(fill != (labels == IGNORE), cv2.MORPH_ERODE).sum()):
        found["fill"] = f"{stray} pixels are filled without being {IGNORE} in the mask, or the reverse"
    if kind == "cells":
        inside = _flat(labels) & (labels != IGNORE)
        right = np.abs(image[inside, 0].astype(int) - labels[inside].astype(int) * 20) < 10
        if inside.any() and right.mean() < AGREEMENT:
            found["agreement"] = f"{1 - right.mean():.1%} of the pixels away from edges show another label"
        return found
    clear = ~_grown(fill | (labels == IGNORE), cv2.MORPH_DILATE) & (labels > 8) & (labels < TOP - 8)
    if clear.sum() < 100:
        return found
    red = image[..., 0] / 2.0
    shift = np.quantile(np.abs(red - labels)[clear], AGREEMENT)
    allowed = SHIFT
    if moving.mask_steps > 1:
        zoom = float(np.median(np.hypot(*np.gradient(red))[clear]))
        allowed *= moving.mask_steps * max(1.0, zoom)
    if shift > allowed:
        found["shift"] = f"the mask lies beside the picture by {shift:.1f} stored pixels along {kind}"
    return found


def _grown(mask: NDArray[np.bool_], way: int) -> NDArray[np.bool_]:
    """Two pixels grown (MORPH_DILATE) or shrunk (MORPH_ERODE)."""
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), way, np.ones((5, 5), np.uint8)), bool)


def _flat(labels: Pixels) -> NDArray[np.bool_]:
    """True where the pixels up to three away have the same label; never at the border."""
    kernel = np.ones((7, 7), np.uint8)
    flat = np.asarray(cv2.erode(labels, kernel) == cv2.dilate(labels, kernel))
    flat[:3], flat[-3:], flat[:, :3], flat[:, -3:] = False, False, False, False
    return flat
