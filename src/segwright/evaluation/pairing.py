"""What has to be equal before two runs may be compared picture by picture, and how their label spaces become one.

Letters: N pictures, L classes of the space that was scored in, K classes of the common one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelMap, LabelSpace, map_labels

SHOWN = 3
"""How many names of a kind a message lists."""
FACTS_OF_PICTURES = ("pictures", "sizes", "mean", "std", "names_sha256")
FACTS_OF_MASKS = ("ignored_pixels", "class_pixels", "sha256")


def in_order_of(first: Evaluation, other: Evaluation) -> Evaluation:
    """The other evaluation with its pictures in the order of the first one.

    Raises UserError that says which pictures only one of them has.
    """
    if first.names == other.names:
        return other
    only_first = [n for n in first.names if n not in set(other.names)]
    only_other = [n for n in other.names if n not in set(first.names)]
    if only_first or only_other:
        parts = [
            f"{len(names)} only in {which.run} ({_some(names)})"
            for names, which in ((only_first, first), (only_other, other))
            if names
        ]
        raise UserError(
            f"{first.run} and {other.run} were not scored on the same pictures: {len(first.names)} of split "
            f"'{first.split}' and {len(other.names)} of split '{other.split}', {'; '.join(parts)}. A difference means "
            "something on the same pictures only: name a split that both have, --split NAME, or score both on one data set."
        )
    place = {name: index for index, name in enumerate(other.names)}
    rows = np.array([place[name] for name in first.names])
    return replace(
        other,
        names=first.names,
        groups=tuple(other.groups[i] for i in rows),
        counts_NKK=other.counts_NKK[rows],
        ignored_N=other.ignored_N[rows],
        missed_NK=None if other.missed_NK is None else other.missed_NK[rows],
        arrays={key: value[rows] for key, value in other.arrays.items()},
    )


def refuse_other_data(
    first: Evaluation, other: Evaluation, facts: Mapping[str, Any], others: Mapping[str, Any]
) -> None:
    """Refuse pictures of equal names and different content.

    facts, others: the fingerprints of the scored split (`data.statistics.fingerprint`), {} where there is none. Masks are
    compared where both were scored in the same classes. Raises UserError that lists what differs.
    """
    if not facts or not others:
        return
    same_classes = first.space.class_names == other.space.class_names
    keys = FACTS_OF_PICTURES + (FACTS_OF_MASKS if same_classes else ())
    wrong = [key for key in keys if key in facts and key in others and facts[key] != others[key]]
    if "names_sha256" in wrong:  # the same pictures in another order, or in other company
        wrong = [key for key in wrong if key not in ("names_sha256", "sha256")]
    if not wrong:
        return
    shown = "\n".join(
        f"  {key}: {_short(facts[key])} in {first.run}, {_short(others[key])} in {other.run}" for key in wrong
    )
    raise UserError(
        f"{first.run} and {other.run} have pictures of the same names with different content; their fingerprints "
        f"(data.json) differ in:\n{shown}\nOne of them has other masks, another version of the data, or other pixels: train "
        "or score both on the same files."
    )


def refuse_other_truth(first: Evaluation, other: Evaluation) -> None:
    """Refuse evaluations in one space whose masks are not the same, judged by the true pixels of each class and picture.

    Raises UserError naming a picture.
    """
    wrong_N = different_truth(first, other)
    if not wrong_N.any():
        return
    names = [first.names[i] for i in np.flatnonzero(wrong_N)]
    raise UserError(
        f"{first.run} and {other.run} were scored on different masks: in {len(names)} of {len(wrong_N)} pictures the true "
        f"pixels of the classes of '{first.space.name}' differ ({_some(names)}). Score both again on the same masks: "
        f"segwright evaluate {other.run} --split {other.split}"
    )


def different_truth(first: Evaluation, other: Evaluation) -> NDArray[np.bool_]:
    """bool [N]: pictures whose true pixels of some class differ in number."""
    return np.asarray((true_pixels(first) != true_pixels(other)).any(1))


def true_pixels(evaluation: Evaluation) -> NDArray[np.int64]:
    """int64 [N, K]: true pixels of each class in each picture."""
    missed = 0 if evaluation.missed_NK is None else evaluation.missed_NK
    return np.asarray(evaluation.counts_NKK.sum(2) + missed, np.int64)


def common_space(spaces: Sequence[LabelSpace]) -> LabelSpace:
    """The finest of the spaces in which all the others can be told: no class of theirs may be several of its classes.

    Of these, one that loses no class comes before one that does. Raises UserError when there is none.
    """
    best: tuple[tuple[int, int], LabelSpace] | None = None
    for target in spaces:
        maps = [found for space in spaces if (found := _map(space, target)) is not None]
        if len(maps) < len(spaces) or any(not found.exact for found in maps):
            continue
        rank = (-sum(len(found.lost) for found in maps), target.num_classes)
        if best is None or rank > best[0]:
            best = (rank, target)
    if best is None:
        names = ", ".join(dict.fromkeys(f"'{space.name}'" for space in spaces))
        raise UserError(
            f"the runs were scored in label spaces that no one of them can tell: {names}. Name a coarser space that all of "
            "them merge into, such as --labels cityscapes7."
        )
    return best[1]


def told_in(evaluation: Evaluation, space: LabelSpace) -> Evaluation | None:
    """The evaluation with its counts merged into another space: exactly what scoring in that space would have counted.

    None where counts do not suffice: a class may be several of the target's, or pixels whose truth stays were called a
    class that the target does not have (then the model has to choose again).
    Pixels whose true class is lost join the ignored ones.
    """
    if evaluation.space.class_names == space.class_names:
        return evaluation
    found = _map(evaluation.space, space)
    if found is None or not found.exact:
        return None
    keeps_L = found.matrix_LK.any(1)
    if evaluation.counts_NKK[:, keeps_L][:, :, ~keeps_L].any():
        return None
    matrix_LK = found.matrix_LK.astype(np.int64)
    counts_NKK = np.einsum("lk,nlm,mj->nkj", matrix_LK, evaluation.counts_NKK, matrix_LK, optimize=True)
    lost_N = true_pixels(evaluation)[:, ~keeps_L].sum(1)
    return replace(
        evaluation,
        space=space,
        counts_NKK=counts_NKK,
        ignored_N=evaluation.ignored_N + lost_N,
        missed_NK=None if evaluation.missed_NK is None else evaluation.missed_NK @ matrix_LK,
        measures={},
        arrays={},
    )


def _map(source: LabelSpace, target: LabelSpace) -> LabelMap | None:
    """None where no class has a counterpart."""
    try:
        return map_labels(source, target)
    except UserError:
        return None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _short(value: Any) -> str:
    text = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
