"""Splits of one's own: how they are made, the file that keeps them, and the part of a data set that they name.

A split file lists picture names, so it holds on every machine and does not change with the seed's meaning:

    {"seed": 0, "method": "group", "source": {"data": "camvid", "splits": ["train"]},
     "groups": {"train": [...], "val": [...]}, "splits": {"train": [names], "val": [names]}, "unused": []}

`source.splits` are the splits of the data set that were divided, together. `groups` is null where pictures were divided
one by one. `unused` are pictures left out on purpose: every picture is in one part, or unused.
For folds the parts are what is held out, `fold1` …; `not-fold1` is everything else: train on `not-fold1`, validate on
`fold1`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import Dataset, Sample, UserError
from segwright.data.dividing import (
    fraction,
    group_split,
    k_folds,
    leave_one_group_out,
    random_split,
    stratified_split,
)
from segwright.data.mixing import Together
from segwright.data.pairs import refuse
from segwright.files import write_json
from segwright.names import did_you_mean

Method = Literal["random", "stratified", "group", "leave-one-group-out", "folds"]
METHODS: tuple[Method, ...] = get_args(Method)
REST = "not-"
"""Before the name of a part: all pictures of the other parts."""


class Subset:
    """Some samples of a data set, in their order there. indices: positions in the data set, each once."""

    def __init__(self, source: Dataset, indices: Sequence[int]) -> None:
        self.source, self.indices = source, tuple(indices)
        self.names: tuple[str, ...] = tuple(source.names[i] for i in self.indices)
        self.groups: tuple[str, ...] = tuple(source.groups[i] for i in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.indices[index]]


class Joined(Together):
    """Official splits of one data set as one. A group that lies in several of them stays one group.

    splits: split -> data set. Names that occur in more than one split get the split before them.
    """

    def __init__(self, splits: Mapping[str, Dataset]) -> None:
        super().__init__(tuple(splits.values()), tuple(splits))
        self.splits = tuple(splits)
        self.groups = tuple(group for source in splits.values() for group in source.groups)

    def names_of(self) -> dict[str, tuple[str, ...]]:
        """Split -> its names in this data set."""
        starts = np.cumsum([0, *(len(s) for s in self.sources)]).tolist()
        return {s: self.names[a:b] for s, a, b in zip(self.splits, starts, starts[1:], strict=False)}


@dataclass(frozen=True, kw_only=True)
class SplitFile:
    """What a split file holds; see the top of this file. where: what to call it in messages."""

    seed: int
    method: str
    data: str
    source_splits: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[str, ...]] | None = None
    unused: tuple[str, ...] = ()
    where: str = field(default="splits", compare=False)

    def names(self, part: str) -> tuple[str, ...]:
        """The pictures of a part, or of all others for `not-PART`. Raises UserError for a part that does not exist."""
        if part in self.splits:
            return self.splits[part]
        held_out = part.removeprefix(REST)
        if part.startswith(REST) and held_out in self.splits:
            return tuple(n for other, names in self.splits.items() if other != held_out for n in names)
        known = [*self.splits, f"{REST}{next(iter(self.splits))}"]
        hint = did_you_mean(part, [*self.splits, *(f"{REST}{s}" for s in self.splits)])
        raise UserError(f"{self.where} has no part '{part}'.{hint} There are: {', '.join(known)}, …")

    def straddling(self, dataset: Dataset) -> tuple[str, ...]:
        """Groups with pictures in more than one part."""
        group_of = dict(zip(dataset.names, dataset.groups, strict=True))
        parts_of = Counter(g for names in self.splits.values() for g in {group_of[n] for n in names})
        return tuple(sorted(g for g, count in parts_of.items() if count > 1))


def as_method(text: str) -> Method:
    """A method by its name. Raises UserError for an unknown one."""
    for method in METHODS:
        if method == text:
            return method
    raise UserError(f"method is '{text}'.{did_you_mean(text, METHODS)} Allowed: {', '.join(METHODS)}.")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to divide.

    fractions: part -> share (they sum to 1) or number of pictures; of random, stratified and group. folds: of `folds`,
    which stratified makes even by class and by_group keeps groups whole in. whole: part -> official split that becomes
    this part as it is. share: of the first part's pictures, or of all for folds; the others are left unused.
    """

    method: Method = "random"
    fractions: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "val": 0.2})
    folds: int = 5
    stratified: bool = False
    by_group: bool = False
    whole: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    seed: int = 0

    @property
    def needs_classes(self) -> bool:
        """Whether it has to be known which picture shows which class."""
        return self.method == "stratified" or (self.method == "folds" and self.stratified)

    @property
    def needs_groups(self) -> bool:
        return self.method in ("group", "leave-one-group-out") or (self.method == "folds" and self.by_group)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A division that a paper or a course used. splits: the official splits that it takes."""

    data: str
    splits: tuple[str, ...]
    plan: Plan
    note: str


_STUDY = MappingProxyType({"train": 2472, "val": 503})
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "cityscapes-2472-503-500": Preset(
            data="cityscapes",
            splits=("train", "val"),
            plan=Plan(fractions=_STUDY, whole=MappingProxyType({"test": "val"})),
            note="official train cut by chance into 2472 and 503; the 500 of official val are the test",
        ),
        "cityscapes-by-city": Preset(
            data="cityscapes",
            splits=("train", "val"),
            plan=Plan(method="group", fractions=_STUDY, whole=MappingProxyType({"test": "val"})),
            note="the same with whole cities, as near to 2472 and 503 as cities allow",
        ),
        "camvid-leave-one-sequence-out": Preset(
            data="camvid",
            splits=("train",),
            plan=Plan(method="leave-one-group-out"),
            note="each train sequence held out in turn: 0001TP (62 pictures), 0006R0 (101), 0016E5 (204)",
        ),
        "voc-half": Preset(
            data="voc",
            splits=("trainval",),
            plan=Plan(fractions=MappingProxyType({"train": 0.5, "val": 0.25, "test": 0.25})),
            note="all 2913 pictures of trainval, half of them for training, a quarter each for validation and test",
        ),
    }
)


def make_splits(dataset: Joined, data: str, plan: Plan, presence_NK: NDArray[np.bool_] | None = None) -> SplitFile:
    """Divide a data set.

    data: its name. presence_NK: bool [N, K], does picture n show class k; needed where plan.needs_classes.
    Raises UserError for fractions, folds and groups that do not suit.
    """
    official = dataset.names_of()
    whole = {part: official[split] for part, split in plan.whole.items()}
    taken = {name for names in whole.values() for name in names}
    rows = [i for i, name in enumerate(dataset.names) if name not in taken]
    names, groups = [dataset.names[i] for i in rows], [dataset.groups[i] for i in rows]
    shows_NK = None if presence_NK is None else presence_NK[rows]
    if plan.needs_groups and len(set(groups)) == len(names):
        raise UserError(
            "in this data set every picture is a group of its own, so dividing by group would be chance. Say which "
            "pictures belong together, with sub-folders or data.args.group_regex, or use --method random."
        )
    parts = _divided(plan, names, groups, shows_NK)
    unused: tuple[str, ...] = ()
    if plan.share != 1:
        if plan.method in ("folds", "leave-one-group-out"):
            raise UserError(f"share is {plan.share:g}; only --method random, stratified and group can take a share.")
        first = next(iter(parts))
        kept = fraction(parts[first], plan.share, seed=plan.seed)
        unused = tuple(sorted(set(parts[first]) - set(kept)))
        parts[first] = kept
    parts |= {part: tuple(sorted(names)) for part, names in whole.items()}
    group_of = dict(zip(dataset.names, dataset.groups, strict=True))
    return SplitFile(
        seed=plan.seed,
        method=plan.method,
        data=data,
        source_splits=tuple(official),
        splits=parts,
        groups={p: tuple(sorted({group_of[n] for n in names})) for p, names in parts.items()}
        if plan.needs_groups
        else None,
        unused=unused,
    )


def _divided(
    plan: Plan, names: Sequence[str], groups: Sequence[str], shows_NK: NDArray[np.bool_] | None
) -> dict[str, tuple[str, ...]]:
    if plan.needs_classes and shows_NK is None:
        raise UserError(f"--method {plan.method} by class needs the masks: which picture shows which class.")
    if plan.method == "leave-one-group-out":
        return leave_one_group_out(names, groups)
    if plan.method == "folds":
        folds = k_folds(
            names,
            plan.folds,
            seed=plan.seed,
            presence_NK=shows_NK if plan.stratified else None,
            groups=groups if plan.by_group else None,
        )
        return {f"fold{i}": fold for i, fold in enumerate(folds, start=1)}
    shares = tuple(plan.fractions.values())
    if plan.method == "group":
        parts = group_split(names, groups, shares, seed=plan.seed)
    elif shows_NK is not None and plan.method == "stratified":
        parts = stratified_split(names, shows_NK, shares, seed=plan.seed)
    else:
        parts = random_split(names, shares, seed=plan.seed)
    return dict(zip(plan.fractions, parts, strict=True))


def apply_split(dataset: Dataset, split_file: SplitFile, part: str) -> Subset:
    """The pictures of one part. dataset: all of `split_file.source_splits` together, as `Joined` makes it.

    Raises UserError for an unknown part; one DataError that lists every picture that only one of the two has.
    """
    wanted = set(split_file.names(part))
    listed = {*split_file.unused, *(name for names in split_file.splits.values() for name in names)}
    present = set(dataset.names)
    problems = [f"{name}: in the split file, but not in the data" for name in sorted(listed - present)]
    problems += [f"{name}: in the data, but in no part of the split file" for name in sorted(present - listed)]
    remedy = "Divide the data again (segwright data split), or add the names to the file: to a part, or to `unused`."
    refuse(Path(split_file.where), problems, remedy)
    return Subset(dataset, [i for i, name in enumerate(dataset.names) if name in wanted])


def open_part(path: Path, part: str, open_split: Callable[[str], Dataset]) -> Subset:
    """One part of a split file. open_split: split of the data set -> its samples; called for each split it divides.

    Raises what `read_splits` and `apply_split` raise.
    """
    split_file = read_splits(path)
    split_file.names(part)  # an unknown part is refused before any folder is listed
    return apply_split(Joined({s: open_split(s) for s in split_file.source_splits}), split_file, part)


def write_splits(path: Path, split_file: SplitFile) -> Path:
    """Write a split file, atomically."""
    content = {
        "seed": split_file.seed,
        "method": split_file.method,
        "source": {"data": split_file.data, "splits": list(split_file.source_splits)},
        "groups": None if split_file.groups is None else {k: list(v) for k, v in split_file.groups.items()},
        "splits": {k: list(v) for k, v in split_file.splits.items()},
        "unused": list(split_file.unused),
    }
    return write_json(path, content)


def read_splits(path: Path) -> SplitFile:
    """Read a split file. Raises UserError for what is no split file, DataError for names listed twice, empty parts."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file. `segwright data split` writes one.") from error
    except (OSError, ValueError) as error:  # no text, no JSON
        raise UserError(f"{path}: no split file ({error}). `segwright data split` writes one.") from error
    try:
        found = _from_json(content, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: no split file: {type(error).__name__}: {error}. It needs seed, method, source (data, splits), "
            "splits (part -> list of picture names), and may have groups and unused."
        ) from error
    counts = Counter(name for names in (*found.splits.values(), found.unused) for name in names)
    double = [f"'{name}' is listed {count} times" for name, count in counts.items() if count > 1]
    empty = [f"part '{part}' has no pictures" for part, names in found.splits.items() if not names]
    refuse(path, [*double, *empty], "Every picture belongs to one part; remove the others.")
    return found


def _from_json(content: Any, path: Path) -> SplitFile:
    def names(items: Any, key: str) -> tuple[str, ...]:
        if not isinstance(items, list) or not all(isinstance(i, str) for i in items):
            raise TypeError(f"{key} is no list of names")
        return tuple(items)

    if unknown := sorted(set(content) - {"seed", "method", "source", "groups", "splits", "unused"}):
        raise TypeError(f"unknown key {unknown[0]!r}")
    groups = content.get("groups")
    if not content["splits"]:
        raise TypeError("splits is empty")
    return SplitFile(
        seed=int(content["seed"]),
        method=str(content["method"]),
        data=str(content["source"]["data"]),
        source_splits=names(content["source"]["splits"], "source.splits"),
        splits={part: names(items, f"splits.{part}") for part, items in content["splits"].items()},
        groups=None if groups is None else {part: names(items, f"groups.{part}") for part, items in groups.items()},
        unused=names(content.get("unused", []), "unused"),
        where=str(path),
    )
