"""Data sets whose labels are told in another space, and several data sets together in one.

A map between label spaces turns each class of the source into one class of the target, into a set of them (the source
is coarser), or into nothing (IGNORE). Labels stay one number a pixel: 0..K-1 are the target's classes, and each
different set of classes gets a number from K on. `Mixture.membership_LK` says which classes each number stands for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, Dataset, Sample, UserError
from segwright.labels.mapping import LabelMap


@dataclass(frozen=True, kw_only=True)
class Part:
    """One data set of a mixture. title: what goes before its names where two parts share one."""

    title: str
    dataset: Dataset
    map: LabelMap


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Samples of all parts, one part after the other.

    membership_LK: bool [L, K], the classes of each label; None when every label is one class.
    """

    dataset: Dataset
    membership_LK: NDArray[np.bool_] | None


class Relabelled:
    """A data set whose labels went through a table. table: uint8 [256], label -> label; IGNORE stays IGNORE."""

    def __init__(self, source: Dataset, table: NDArray[np.uint8]) -> None:
        self.source, self.table = source, table
        self.names: Sequence[str] = source.names
        self.groups: Sequence[str] = source.groups

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        return sample if sample.labels is None else replace(sample, labels=self.table[sample.labels])


class Together:
    """Several data sets as one, in order. titles: put before names and groups that occur in more than one of them."""

    def __init__(self, sources: Sequence[Dataset], titles: Sequence[str]) -> None:
        self.sources = tuple(sources)
        self.names: tuple[str, ...] = _unique([s.names for s in sources], titles)
        self.groups: tuple[str, ...] = _unique([s.groups for s in sources], titles)
        self._starts = np.cumsum([0, *(len(s) for s in sources)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        sample = self.sources[part][index - int(self._starts[part])]
        return replace(sample, name=self.names[index])


def mix(parts: Sequence[Part]) -> Mixture:
    """The parts as one data set in the target space that their maps share.

    Raises UserError when the different sets of classes and the classes together are more than 255.
    """
    target = parts[0].map.target
    sets: dict[bytes, int] = {}
    rows = list(np.eye(target.num_classes, dtype=bool))
    relabelled: list[Dataset] = []
    for part in parts:
        table = np.full(256, IGNORE, np.uint8)
        for label, members_K in enumerate(part.map.matrix_LK):
            if members_K.sum() == 1:
                table[label] = int(members_K.argmax())
            elif members_K.any():
                key = members_K.tobytes()
                if key not in sets:
                    sets[key] = len(rows)
                    rows.append(members_K)
                if sets[key] >= IGNORE:
                    raise UserError(
                        f"mixing these data sets needs more than {IGNORE} labels: {target.num_classes} classes of "
                        f"'{target.name}' and {len(sets)} sets of them. Train in a coarser space (model.labels)."
                    )
                table[label] = sets[key]
        plain = np.array_equal(table[: len(part.map.matrix_LK)], np.arange(len(part.map.matrix_LK)))
        relabelled.append(part.dataset if plain else Relabelled(part.dataset, table))
    dataset = relabelled[0] if len(parts) == 1 else Together(relabelled, [p.title for p in parts])
    return Mixture(dataset=dataset, membership_LK=np.stack(rows) if sets else None)


def _unique(names: Sequence[Sequence[str]], titles: Sequence[str]) -> tuple[str, ...]:
    parts_of = Counter(name for part in names for name in set(part))
    clash = any(count > 1 for count in parts_of.values())
    return tuple(
        f"{title}/{name}" if clash else name for part, title in zip(names, titles, strict=True) for name in part
    )
