"""Ways to divide pictures into parts: by chance, by classes, by groups, into folds.

All are functions of names, seed and what is said of the pictures; the order of the names plays no part, because chance
is a hash of seed and name. Parts come out as tuples of names in alphabetical order.

Letters: N pictures, K classes, P parts.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segwright.contracts import UserError

Parts = tuple[tuple[str, ...], ...]


def hash_order(names: Sequence[str], seed: int) -> list[str]:
    """The names in an order that looks random and depends on nothing but seed and names."""

    def key(name: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{seed}:{unicodedata.normalize('NFC', name)}".encode()).digest(), name

    return sorted(names, key=key)


def part_sizes(count: int, fractions: Sequence[float]) -> tuple[int, ...]:
    """How many of `count` pictures each part gets.

    fractions: shares that sum to 1 (sizes differ from them by less than one picture), or numbers that sum to `count`.
    Raises UserError for other sums, for fewer than two parts, and when a part would be empty.
    """
    shown = ", ".join(f"{f:g}" for f in fractions)
    if len(fractions) < 2 or min(fractions) <= 0:
        raise UserError(f"fractions are {shown or 'empty'}; give two or more above 0, such as 0.8, 0.2.")
    if all(float(f).is_integer() for f in fractions):
        if sum(fractions) != count:
            raise UserError(f"the parts {shown} have {sum(fractions):g} pictures together, but there are {count}.")
        return tuple(int(f) for f in fractions)
    if abs(sum(fractions) - 1) > 1e-6:
        raise UserError(f"fractions are {shown}, which sum to {sum(fractions):g}; they must sum to 1.")
    exact = [f * count for f in fractions]
    sizes = [int(e + 1e-9) for e in exact]
    by_remainder = sorted(range(len(exact)), key=lambda p: (sizes[p] - exact[p], p))
    for p in by_remainder[: count - sum(sizes)]:
        sizes[p] += 1
    if min(sizes) == 0:
        raise UserError(f"{count} pictures are too few for parts of {shown}: one part would be empty.")
    return tuple(sizes)


def random_split(names: Sequence[str], fractions: Sequence[float], *, seed: int = 0) -> Parts:
    """Pictures one by one, by chance. A picture keeps its part when others are added, except at the borders."""
    _check_names(names)
    order = hash_order(names, seed)
    ends = np.cumsum(part_sizes(len(names), fractions)).tolist()
    return tuple(tuple(sorted(order[start:end])) for start, end in zip([0, *ends], ends, strict=False))


def stratified_split(
    names: Sequence[str], presence_NK: ArrayLike, fractions: Sequence[float], *, seed: int = 0
) -> Parts:
    """Pictures one by one, so that every class is shown by its share of pictures in every part, as far as possible.

    presence_NK: bool [N, K], does picture n show class k. Sizes are those of `part_sizes`, exactly.
    Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011): the class with the fewest pictures left is shared out
    first, each picture to the part that lacks it most; here a part that is full gets no more.
    """
    _check_names(names)
    order = hash_order(names, seed)
    shows_NK = _rows(names, presence_NK, order).astype(bool)
    room_P = np.array(part_sizes(len(names), fractions), np.int64)
    wanted_PK = np.outer(room_P / len(names), shows_NK.sum(0))
    left_K = shows_NK.sum(0)
    part_N = np.full(len(names), -1)
    while left_K.any():
        rarest = int(np.where(left_K > 0, left_K, left_K.max() + 1).argmin())
        for n in np.flatnonzero(shows_NK[:, rarest] & (part_N < 0)):
            part = _neediest(room_P, wanted_PK[:, rarest])
            part_N[n] = part
            room_P[part] -= 1
            wanted_PK[part] -= shows_NK[n]
            left_K -= shows_NK[n]
    for n in np.flatnonzero(part_N < 0):  # pictures that show no class
        part_N[n] = part = _neediest(room_P, room_P)
        room_P[part] -= 1
    return _parts(order, part_N, len(room_P))


def group_split(names: Sequence[str], groups: Sequence[str], fractions: Sequence[float], *, seed: int = 0) -> Parts:
    """Whole groups (cities, sequences), none of them in two parts; sizes as near to `part_sizes` as groups allow.

    groups: the group of each picture. The smallest part chooses first: of all sets of groups one with the nearest
    number of pictures, the seed deciding between them. Raises UserError when there are fewer groups than parts.
    """
    _check_names(names)
    sizes = Counter(groups)
    wanted = part_sizes(len(names), fractions)
    if len(sizes) < len(wanted):
        raise UserError(f"{len(wanted)} parts need {len(wanted)} groups; there are {len(sizes)}: {_few(sizes)}.")
    left = hash_order(list(sizes), seed)
    part_of: dict[str, int] = {}
    by_size = sorted(range(len(wanted)), key=lambda p: (wanted[p], p))
    for done, part in enumerate(by_size[:-1], start=1):
        chosen = _nearest_sum(left, sizes, wanted[part])
        while len(left) - len(chosen) < len(wanted) - done:  # every later part needs a group, too
            chosen.remove(min(chosen, key=lambda g: sizes[g]))
        part_of |= dict.fromkeys(chosen, part)
        left = [g for g in left if g not in part_of]
    part_of |= dict.fromkeys(left, by_size[-1])
    return _parts(names, np.array([part_of[g] for g in groups]), len(wanted))


def leave_one_group_out(names: Sequence[str], groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Group -> its pictures, which are held out when it is that group's turn. Raises UserError for a single group."""
    _check_names(names)
    if len(set(groups)) < 2:
        raise UserError(f"leaving one group out needs two groups; there is {len(set(groups))}: {_few(set(groups))}.")
    return {
        group: tuple(sorted(n for n, g in zip(names, groups, strict=True) if g == group))
        for group in sorted(set(groups))
    }


def k_folds(
    names: Sequence[str],
    k: int,
    *,
    seed: int = 0,
    presence_NK: ArrayLike | None = None,
    groups: Sequence[str] | None = None,
) -> Parts:
    """The held-out pictures of each of k folds; together they are all pictures.

    presence_NK: bool [N, K]; given, folds are stratified by class. groups: given, groups stay whole, and the largest
    is put first, each into the fold that evens sizes (and, with presence_NK, classes) most. Without groups the sizes
    differ by one at most. Raises UserError when there are fewer pictures or groups than folds.
    """
    _check_names(names)
    units = len(names) if groups is None else len(set(groups))
    if not 2 <= k <= units:
        what = "pictures" if groups is None else "groups"
        raise UserError(f"folds is {k}; allowed are 2 to {units}, the number of {what}.")
    if groups is not None:
        return _group_folds(names, k, seed, presence_NK, groups)
    even = [1 / k] * k
    if presence_NK is None:
        return random_split(names, even, seed=seed)
    return stratified_split(names, presence_NK, even, seed=seed)


def fraction(names: Sequence[str], share: float, *, seed: int = 0) -> tuple[str, ...]:
    """A share of the pictures, at least one; of two shares with one seed the smaller lies in the larger.

    share: above 0, up to 1.
    """
    _check_names(names)
    if not 0 < share <= 1:
        raise UserError(f"share is {share:g}; allowed is above 0, up to 1.")
    return tuple(sorted(hash_order(names, seed)[: max(1, round(share * len(names)))]))


def _group_folds(
    names: Sequence[str], k: int, seed: int, presence_NK: ArrayLike | None, groups: Sequence[str]
) -> Parts:
    """Largest group first, to the fold that makes pictures and classes most even."""
    order = hash_order(sorted(set(groups)), seed)
    index = {g: i for i, g in enumerate(order)}
    group_N = np.array([index[g] for g in groups])
    features = [np.ones((len(names), 1))]
    if presence_NK is not None:
        features.append(_rows(names, presence_NK, names).astype(float))
    counts_GF = np.zeros((len(order), sum(f.shape[1] for f in features)))
    np.add.at(counts_GF, group_N, np.concatenate(features, axis=1))
    share_GF = counts_GF / counts_GF.sum(0).clip(1)
    weight_F = np.ones(share_GF.shape[1]) / max(1, share_GF.shape[1] - 1)
    weight_F[0] = 1  # pictures count as much as all classes together
    fold_PF = np.zeros((k, share_GF.shape[1]))
    fold_G = np.zeros(len(order), np.int64)
    for done, g in enumerate(np.argsort(-counts_GF[:, 0], kind="stable")):
        empty_P = fold_PF[:, 0] == 0
        open_P = empty_P if len(order) - done <= empty_P.sum() else np.ones(k, bool)
        # Of all folds, the sum of squares grows least where 2·fold·group is least.
        cost_P = (fold_PF * share_GF[g] * weight_F).sum(1)
        fold = int(np.where(open_P, cost_P, np.inf).argmin())
        fold_G[g] = fold
        fold_PF[fold] += share_GF[g]
    return _parts(names, fold_G[group_N], k)


def _nearest_sum(left: Sequence[str], sizes: Mapping[str, int], wanted: int) -> list[str]:
    """Groups, not none and not all, whose sizes sum to `wanted` or as near to it as sums of these groups come.

    `made` has bit s set when some groups sum to s; last[s] is the group that made s first, so a sum is taken apart by
    following it back. Groups early in `left` are preferred.
    """
    total = sum(sizes[g] for g in left)
    made, last = 1, dict[int, str]()
    for group in left:
        new = (made << sizes[group]) & ~made
        made |= new
        while new:
            bit = new & -new
            last[bit.bit_length() - 1] = group
            new ^= bit
        if made >> wanted & 1:
            break
    nearest = min((s for s in last if s < total), key=lambda s: (abs(s - wanted), s))
    chosen = []
    while nearest:
        chosen.append(last[nearest])
        nearest -= sizes[last[nearest]]
    return chosen


def _neediest(room_P: NDArray[np.int64], wanted_P: NDArray[np.float64] | NDArray[np.int64]) -> int:
    """The part with room that wants most; then the one with more room."""
    return max(np.flatnonzero(room_P > 0).tolist(), key=lambda p: (round(float(wanted_P[p]), 9), int(room_P[p]), -p))


def _rows(names: Sequence[str], presence_NK: ArrayLike, order: Sequence[str]) -> NDArray[np.bool_]:
    """The rows of the matrix, which belong to `names`, in another order."""
    rows = np.asarray(presence_NK, bool)
    if rows.ndim != 2 or len(rows) != len(names):
        raise UserError(f"presence has the shape {rows.shape}; expected one row a picture: ({len(names)}, classes).")
    at = {name: i for i, name in enumerate(names)}
    return rows[[at[name] for name in order]]


def _parts(names: Sequence[str], part_N: NDArray[np.int64], count: int) -> Parts:
    lists: list[list[str]] = [[] for _ in range(count)]
    for name, part in zip(names, part_N.tolist(), strict=True):
        lists[part].append(name)
    return tuple(tuple(sorted(part)) for part in lists)


def _check_names(names: Sequence[str]) -> None:
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise UserError(f"{len(double)} names occur more than once: {_few(double)}. Each picture needs its own name.")
    if not names:
        raise UserError("there are no pictures to divide.")


def _few(items: Sequence[str] | Mapping[str, int] | set[str]) -> str:
    shown = sorted(items)[:8]
    return ", ".join(shown) + (f" and {len(items) - 8} more" if len(items) > 8 else "")
