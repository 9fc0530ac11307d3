"""Maps between label spaces: what each class of one space is in another.

Letters: L classes of the source space, K classes of the target space.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, UserError
from segwright.labels.matching import How, Match, Names, match_classes
from segwright.labels.space import LabelSpace
from segwright.names import did_you_mean

HOW: tuple[str, ...] = get_args(How)
Overrides = Mapping[str, str | Sequence[str] | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMap:
    """What every class of the source space is in the target space.

    matrix_LK: bool. One True in a row: the source class is that target class. Several: the source is coarser, and a
    pixel is one of these. None: the target has no such class, and its pixels become IGNORE.
    how: source class name -> how its row was found, see `matching.How`.
    The map works on class ids: what raw mask values mean is decided before, by `LabelSpace.encode`.
    """

    source: LabelSpace
    target: LabelSpace
    matrix_LK: NDArray[np.bool_]
    how: Mapping[str, How]

    @cached_property
    def rows(self) -> dict[str, tuple[str, ...]]:
        """Source class -> the target classes that it may be, in the target's order; empty for a lost class."""
        names = self.target.class_names
        return {
            name: tuple(names[k] for k in np.flatnonzero(row))
            for name, row in zip(self.source.class_names, self.matrix_LK, strict=True)
        }

    @property
    def lost(self) -> tuple[str, ...]:
        """Source classes whose pixels become IGNORE."""
        return tuple(name for name, found in self.rows.items() if not found)

    @property
    def coarse(self) -> dict[str, tuple[str, ...]]:
        """Source classes that may be any of several target classes."""
        return {name: found for name, found in self.rows.items() if len(found) > 1}

    @property
    def merged(self) -> dict[str, tuple[str, ...]]:
        """Target classes that several source classes become, with these."""
        names = self.source.class_names
        columns = {
            t: tuple(names[i] for i in np.flatnonzero(self.matrix_LK[:, k]))
            for k, t in enumerate(self.target.class_names)
        }
        return {target: sources for target, sources in columns.items() if len(sources) > 1}

    @property
    def unreached(self) -> tuple[str, ...]:
        """Target classes that no source class becomes."""
        reached = {t for found in self.rows.values() for t in found}
        return tuple(t for t in self.target.class_names if t not in reached)

    @property
    def exact(self) -> bool:
        """No source class is coarse: labels and predictions can be told in the target space."""
        return not self.coarse

    @property
    def total(self) -> bool:
        """No source class is lost."""
        return not self.lost

    def then(self, following: LabelMap) -> LabelMap:
        """This map and then another one that starts where this one ends: the Boolean product of both matrices.

        Of a coarse class, members that the second map loses drop out. Raises UserError when the spaces in the middle
        have different classes.
        """
        if self.target.class_names != following.source.class_names:
            raise UserError(
                f"a map to '{self.target.name}' cannot be followed by one from '{following.source.name}': their classes differ."
            )
        matrix = (self.matrix_LK.astype(np.int64) @ following.matrix_LK.astype(np.int64)) > 0
        how: dict[str, How] = {}
        for index, (name, members) in enumerate(self.rows.items()):
            steps = [self.how[name], *(following.how[m] for m in members)]
            found = [s for s in steps if s != "lost"] if matrix[index].any() else steps
            how[name] = max(found, key=HOW.index)
        return LabelMap(source=self.source, target=following.target, matrix_LK=matrix, how=how)

    def table(self) -> NDArray[np.uint8]:
        """uint8 [256]: the target id of every source id; IGNORE for lost classes, unused ids and IGNORE itself.

        Raises UserError for a map with coarse rows (naming them) and for multi-label spaces.
        """
        self._refuse_unless_ids()
        table = np.full(256, IGNORE, np.uint8)
        for index, row in enumerate(self.matrix_LK):
            if row.any():
                table[index] = row.argmax()
        return table

    def ids(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class ids of the source, uint8 of any shape, as ids of the target. IGNORE stays IGNORE, lost classes join it.

        Raises UserError as `table` does, and for ids that the source does not have.
        """
        table = self.table()
        wrong = ids[(ids >= self.source.num_classes) & (ids != IGNORE)]
        if wrong.size:
            raise UserError(
                f"found class id {int(wrong[0])}; label space '{self.source.name}' has 0..{self.source.num_classes - 1} "
                f"and {IGNORE} (ignore)."
            )
        return table[ids]

    def probabilities(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Class probabilities of the source as those of the target: members are summed, those of lost classes drop out.

        values: float [..., L, H, W], or [L] or [L, N]. Returns float32 [..., K, H, W] (or [K], [K, N]); its sum over
        classes is 1 less what was lost.
        Raises UserError for a map with coarse rows (naming them), a multi-label source, and another number of classes.
        """
        self._refuse_coarse("probabilities")
        if not self.source.exclusive:
            raise UserError(
                f"label space '{self.source.name}' is multi-label: its yes-or-no probabilities cannot be summed."
            )
        axis = max(values.ndim - 3, 0)
        if values.ndim == 0 or values.shape[axis] != self.source.num_classes:
            raise UserError(
                f"found probabilities of shape {list(values.shape)}; label space '{self.source.name}' needs "
                f"{self.source.num_classes} classes in axis {axis}."
            )
        summed = np.tensordot(self.matrix_LK.T.astype(np.float32), values.astype(np.float32, copy=False), (1, axis))
        return np.moveaxis(summed, 0, axis)

    def _refuse_unless_ids(self) -> None:
        for space in (self.source, self.target):
            if not space.exclusive:
                raise UserError(
                    f"label space '{space.name}' is multi-label: its labels are yes-or-no maps, not one id a pixel. "
                    "Read the masks in that space instead."
                )
        self._refuse_coarse("ids")

    def _refuse_coarse(self, what: str) -> None:
        if self.coarse:
            listed = "; ".join(f"'{name}' may be {' or '.join(found)}" for name, found in self.coarse.items())
            raise UserError(
                f"{what} of '{self.source.name}' cannot be told in '{self.target.name}', which is finer: {listed}. Choose a "
                "coarser target, or decide these classes with overrides (on the command line: --set class=target)."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` turns back into the same map: both spaces, and the rows by name."""
        rows = {name: {"to": list(found), "how": self.how[name]} for name, found in self.rows.items()}
        return {"source": self.source.to_dict(), "target": self.target.to_dict(), "classes": rows}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, where: str = "label map") -> LabelMap:
        """A map from plain data (YAML or JSON). Raises UserError naming `where` and what is wrong."""
        if not isinstance(content, Mapping) or set(content) != {"source", "target", "classes"}:
            raise UserError(f"{where}: a label map has the keys source, target and classes.")
        source = LabelSpace.from_dict(content["source"], where=f"{where}, source")
        target = LabelSpace.from_dict(content["target"], where=f"{where}, target")
        rows = content["classes"]
        if set(rows) != set(source.class_names):
            odd = sorted(set(rows) ^ set(source.class_names))
            raise UserError(f"{where}: `classes` has to list each class of '{source.name}' once; see {odd[0]!r}.")
        matrix = np.zeros((source.num_classes, target.num_classes), bool)
        for index, name in enumerate(source.class_names):
            row = rows[name]
            if not isinstance(row, Mapping) or set(row) != {"to", "how"} or row["how"] not in HOW:
                raise UserError(f"{where}: '{name}' needs `to` and `how` ({', '.join(HOW)}); found {row!r}.")
            if unknown := [t for t in row["to"] if t not in target.class_names]:
                raise UserError(f"{where}: '{name}' goes to '{unknown[0]}', which '{target.name}' does not have.")
            matrix[index, [target.class_names.index(t) for t in row["to"]]] = True
        return cls(source=source, target=target, matrix_LK=matrix, how={n: rows[n]["how"] for n in source.class_names})


def map_labels(source: LabelSpace, target: LabelSpace, overrides: Overrides | None = None) -> LabelMap:
    """What each class of `source` is in `target`.

    Looked for in this order, see `matching.match_classes`: overrides, a shipped table (`labels/maps/*.yaml`), equal
    names, other names (aliases), labels that the target ignores, the source class's group, the target classes whose
    group it is.
    overrides: source class -> target class, several of them, or None to ignore it. Raises UserError for names that the
    spaces do not have, when no class at all has a counterpart, and from a multi-label space to one that is not.
    """
    if not source.exclusive and target.exclusive:
        raise UserError(
            f"label space '{source.name}' is multi-label: its pixels may have several classes, and those of '{target.name}' "
            "have one. Map the other way round, or choose a multi-label target."
        )
    rows = match_classes(source, target)
    for given, wanted in (overrides or {}).items():
        targets = [wanted] if isinstance(wanted, str) else list(wanted or ())
        index = _class_id(source, given)
        rows[index] = Match(frozenset(_class_id(target, t) for t in targets), "given")
    matrix = np.zeros((source.num_classes, target.num_classes), bool)
    for index, row in enumerate(rows):
        matrix[index, list(row.targets)] = True
    if not matrix.any():
        raise UserError(
            f"no class of label space '{source.name}' has a counterpart in '{target.name}'. '{source.name}' has "
            f"{_some(source.class_names)}; '{target.name}' has {_some(target.class_names)}. Name the pairs yourself: "
            "overrides={'class': 'target'}, on the command line --set class=target."
        )
    how = {name: row.how for name, row in zip(source.class_names, rows, strict=True)}
    return LabelMap(source=source, target=target, matrix_LK=matrix, how=how)


def _class_id(space: LabelSpace, name: str) -> int:
    names = Names.of(space)
    if found := names.find(name):
        return min(found)
    hint = did_you_mean(name, space.class_names)
    raise UserError(f"label space '{space.name}' has no class '{name}'.{hint} It has {_some(space.class_names, 40)}.")


def _some(names: Iterable[str], most: int = 12) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f", … ({len(listed)} in all)" if len(listed) > most else "")
