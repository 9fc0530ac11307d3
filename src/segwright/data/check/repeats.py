"""Pictures that occur more than once: exactly, or nearly (saved again, resized, brightened).

Near duplicates must agree in a 64-bit difference hash, and then in a 32×32 thumbnail up to brightness and contrast.
The bounds lie between copies (mean difference below 1 of 255 after JPEG at quality 30, resizing or noise) and
neighbouring frames of CamVid's videos (above 1.8), which are not meant.

Letters: N pictures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

BITS = 6
"""Near duplicates differ in at most so many bits of their hash, and in none of one of its four 16-bit parts."""
MEAN_DIFFERENCE = 1.3
LARGEST_DIFFERENCE = 10.0
"""Bounds of the difference of two thumbnails, in grey levels."""
_GAIN = (0.7, 1.4)
_BLOCK = 512
"""Thumbnails that are turned into numbers for arithmetic at a time."""
_FLAT = 6.0  # standard deviation of a thumbnail that shows too little to compare


def equal_groups(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Indices that share a key, in order; None is no key, and single ones are left out."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        if key is not None:
            groups[key].append(index)
    return [group for group in groups.values() if len(group) > 1]


def near_groups(dhash_N: NDArray[np.uint64], grey_N: NDArray[np.uint8]) -> list[list[int]]:
    """Groups of indices whose pictures nearly equal the first of the group.

    dhash_N: uint64 [N]; grey_N: uint8 [N, 32, 32].
    """
    blocks = [grey_N[start : start + _BLOCK] for start in range(0, len(grey_N), _BLOCK)]
    telling = np.concatenate([np.zeros(0, bool), *(_centred(block).std(1) >= _FLAT for block in blocks)])
    leader = np.arange(len(dhash_N))
    for shift in range(0, 64, 16):
        part = (dhash_N >> np.uint64(shift)) & np.uint64(0xFFFF)
        order = np.argsort(part, kind="stable")
        bounds = np.flatnonzero(np.diff(part[order])) + 1
        for bucket in np.split(order, bounds):
            _join(bucket[telling[bucket]], dhash_N, grey_N, leader)
    groups: dict[int, list[int]] = defaultdict(list)
    for index, first in enumerate(leader.tolist()):
        groups[first].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _join(
    bucket: NDArray[np.intp], dhash_N: NDArray[np.uint64], grey_N: NDArray[np.uint8], leader: NDArray[np.intp]
) -> None:
    """Give every picture of the bucket that nearly equals an earlier leader that leader."""
    for position, first in enumerate(bucket.tolist()):
        rest = bucket[position + 1 :]
        rest = rest[leader[rest] == rest]
        if leader[first] != first or not len(rest):
            continue
        close = rest[np.bitwise_count(dhash_N[rest] ^ dhash_N[first]) <= BITS]
        for start in range(0, len(close), _BLOCK):
            part = close[start : start + _BLOCK]
            leader[part[_nearly_equal(_centred(grey_N[[first]])[0], _centred(grey_N[part]))]] = first


def _centred(grey_N: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [N, 1024]: thumbnails less their means."""
    flat = grey_N.reshape(len(grey_N), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat


def _nearly_equal(one: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool [N]: do the thumbnails (less their means) differ only in contrast, within the bounds above?"""
    gain = others @ one / (one @ one)
    difference = np.abs(others - gain[:, None] * one)
    within = (difference.mean(1) < MEAN_DIFFERENCE) & (difference.max(1) < LARGEST_DIFFERENCE)
    return np.asarray(within & (gain > _GAIN[0]) & (gain < _GAIN[1]))
