"""The scores of Cityscapes beyond plain counts: IoU on label ids, iIoU, and both for categories.

Every number equals that of cityscapesScripts to the last bit, on the same files in the same order. iIoU answers "how
well are instances covered": each true instance counts as if it had the average size of its class, so near objects do
not drown far ones. Instances of ignored labels, and groups (`instance id` up to 1000), are in no iIoU.

Source: cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py and helpers/labels.py (Cordts et al. 2016).
Letters: N pictures, L = 34 label ids, I instances, H W pixels, K classes of the label space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, UserError
from segwright.labels import LabelSpace, load_label_space
from segwright.labels.space import look_up
from segwright.metrics.confusion import confusion
from segwright.metrics.measure import Arrays, Measure, Scored
from segwright.metrics.scores import Counts, Floats, mean_in_order, ratio

AVERAGE_SIZE: Mapping[str, float] = MappingProxyType(
    {
        "person": 3462.4756337644,
        "rider": 3930.4788056518,
        "car": 12794.0202738185,
        "truck": 27855.1264367816,
        "bus": 35732.1511111111,
        "caravan": 36771.8241758242,
        "trailer": 16926.9763313609,
        "train": 67583.7075812274,
        "motorcycle": 6298.7200839748,
        "bicycle": 4672.3249222261,
    }
)
"""Mean pixels of an instance, of the labels that have instances, as the official script fixes them."""

INSTANCE_CODE = 1000
"""An instance map holds label id × INSTANCE_CODE + number; values up to this are no single instance."""

MOST_INSTANCES = 512
"""Of one picture. Rows are kept for each, because sums of floats depend on their order."""


@dataclass(frozen=True)
class LabelIds:
    """The official table: names by label id 0..33, which ids are evaluated, and the ids of each category."""

    names: tuple[str, ...]
    evaluated: tuple[int, ...]
    categories: Mapping[str, tuple[int, ...]]

    @property
    def scored_categories(self) -> dict[str, tuple[int, ...]]:
        """Category -> its evaluated ids; those without any are left out."""
        found = {name: tuple(i for i in ids if i in self.evaluated) for name, ids in self.categories.items()}
        return {name: ids for name, ids in found.items() if ids}

    @property
    def instance_categories(self) -> dict[str, tuple[int, ...]]:
        """Categories all of whose labels have instances -> all their ids, ignored ones too, as the script counts them."""
        return {n: ids for n, ids in self.categories.items() if all(self.names[i] in AVERAGE_SIZE for i in ids)}


@cache
def label_ids() -> LabelIds:
    """The table, from the shipped label spaces cityscapes34 (all ids) and cityscapes19 (those evaluated)."""
    whole, scored = load_label_space("cityscapes34"), set(load_label_space("cityscapes19").class_names)
    evaluated = tuple(i for i, name in enumerate(whole.class_names) if name in scored)
    return LabelIds(whole.class_names, evaluated, whole.groups)


def ids_of_space(space: LabelSpace) -> NDArray[np.uint8]:
    """uint8 [K]: the official label id of each class; of a category, its first evaluated id.

    Raises UserError for a space that has neither all 19 evaluated classes nor just the categories.
    """
    table, names = label_ids(), space.class_names
    if set(names) == set(table.scored_categories):
        return np.array([table.scored_categories[name][0] for name in names], np.uint8)
    if set(names) <= set(table.names) and {table.names[i] for i in table.evaluated} <= set(names):
        return np.array([table.names.index(name) for name in names], np.uint8)
    raise UserError(
        f"label space '{space.name}' does not have the classes of Cityscapes, so it has no label ids. Score in "
        "cityscapes19, cityscapes34 or cityscapes7 (--labels)."
    )


class Cityscapes(Measure):
    """IoU and iIoU of classes and categories on label ids 0..33.

    Rows: `counts` int64 [N, 34, 34], pixels [truth, predicted], rows of ignored ids 0 unless the space has them as
    classes; `instances` int64 [N, MOST_INSTANCES, 4], of each evaluated instance in the order of its id the label, its
    pixels, those predicted as the label, and those predicted as its category; `mapped` int64 [N], 1 where the picture
    had an instance map. Without one for every picture iIoU is undefined.
    """

    name = "cityscapes"
    takes_void = True
    needs_rgb = False

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        ids = ids_of_space(space)
        self._truth = np.full(256, IGNORE, np.uint8)
        self._truth[: len(ids)] = ids
        self._predicted = np.zeros(256, np.uint8)  # IGNORE -> 0, unlabeled: a miss
        self._predicted[: len(ids)] = ids
        self._raw_is_id = space.encoding == "index" and np.array_equal(
            space.decode(np.arange(len(ids), dtype=np.uint8)), ids
        )
        self._by_class = len(ids) >= len(label_ids().evaluated)

    @classmethod
    def fits(cls, space: LabelSpace) -> bool:
        try:
            return len(ids_of_space(space)) > 0
        except UserError:
            return False

    def begin(self, pictures: int) -> dict[str, Any]:
        labels = len(label_ids().names)
        return {
            "counts": np.zeros((pictures, labels, labels), np.int64),
            "instances": np.zeros((pictures, MOST_INSTANCES, 4), np.int64),
            "mapped": np.zeros(pictures, np.int64),
        }

    def see(self, scored: Scored, arrays: Arrays) -> None:
        labels = len(label_ids().names)
        predicted = scored.raw if scored.raw is not None and self._raw_is_id else look_up(scored.ids, self._predicted)
        if predicted is scored.raw and scored.raw_counts is not None and not scored.raw_counts[:, labels:].any():
            by_truth = np.zeros((256, labels), np.int64)
            np.add.at(by_truth, self._truth, scored.raw_counts[:, :labels])
            arrays["counts"][scored.index] = by_truth[:labels]
        else:
            truth = look_up(scored.labels, self._truth)
            counts = confusion(torch.from_numpy(truth), torch.from_numpy(predicted), labels, source=scored.name)
            arrays["counts"][scored.index] = counts.numpy()
        if scored.instances is None:
            return
        found = instance_rows(scored.instances, predicted, source=scored.name)
        if len(found) > MOST_INSTANCES:
            raise DataError(
                f"{scored.name}: the instance map holds {len(found)} instances; allowed are {MOST_INSTANCES} in a "
                "picture. Is it coded as label id × 1000 + number? To score without instances: data.args.instances=false."
            )
        arrays["instances"][scored.index, : len(found)] = found
        arrays["mapped"][scored.index] = 1

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        rows = arrays["instances"].reshape(-1, 4)
        mapped = bool(len(groups)) and bool(arrays["mapped"].all())
        counts = np.asarray(arrays["counts"].sum(0), np.int64)
        found = official_scores(counts, np.asarray(rows[rows[:, 0] > 0], np.int64) if mapped else None)
        if not self._by_class:
            found["classes"] = {}
            found["averages"] |= {"iou": None, "iiou": None}
        return found


def instance_rows(instances: NDArray[np.int32], predicted: NDArray[np.uint8], *, source: str = "") -> NDArray[np.int64]:
    """Of each instance of an evaluated label, in the order of its id: label, pixels, right pixels, pixels of its category.

    instances: int32 [H, W], label id × 1000 + number; up to 1000 no single instance. predicted: uint8 [H, W], label ids
    0..33. Returns int64 [I, 4]; [0, 4] where there is none. Raises DataError naming `source` for labels that have no
    instances.
    """
    table = label_ids()
    labels = len(table.names)
    flat = instances.reshape(-1)
    inside = np.flatnonzero(flat > INSTANCE_CODE)
    ids = flat[inside]
    if ids.size and int(ids.max()) >= labels * INSTANCE_CODE:
        raise DataError(
            f"{source}: the instance map holds {int(ids.max())}; allowed is label id × {INSTANCE_CODE} + number with "
            f"label ids 0..{labels - 1}. Is this the instance map of another data set?"
        )
    present = np.flatnonzero(np.bincount(ids, minlength=1))
    place = np.zeros(labels * INSTANCE_CODE, np.int64)
    place[present] = np.arange(len(present)) * labels
    counts = np.bincount(place[ids] + predicted.reshape(-1)[inside], minlength=len(present) * labels)
    rows: list[tuple[int, int, int, int]] = []
    for ident, predicted_L in zip(present.tolist(), counts.reshape(-1, labels), strict=True):
        label = ident // INSTANCE_CODE
        if label not in table.evaluated:
            continue
        if table.names[label] not in AVERAGE_SIZE:
            raise DataError(
                f"{source}: the instance map holds {ident}, an instance of {table.names[label]}, which has none in "
                "Cityscapes. Give such areas their label id alone."
            )
        category = next((ids for ids in table.instance_categories.values() if label in ids), ())
        rows.append((label, int(predicted_L.sum()), int(predicted_L[label]), int(predicted_L[list(category)].sum())))
    return np.array(rows, np.int64).reshape(-1, 4)


def official_scores(counts_LL: Counts, instances_I4: NDArray[np.int64] | None) -> dict[str, Any]:
    """Everything the official script reports, 0..1, None where undefined.

    counts_LL: int64 [34, 34], pixels of label ids [truth, predicted]. instances_I4: rows of `instance_rows` of all
    pictures in their order; None where there are no instance maps, and iIoU is undefined.
    Returns `classes` and `categories`: name -> {iou, iiou}; `averages`: iou, iiou, category_iou, category_iiou;
    `instances`: how many, or None. Classes that are not evaluated are left out.
    """
    table = label_ids()
    evaluated = list(table.evaluated)
    classes = {table.names[i]: [i] for i in evaluated}
    categories = {name: list(ids) for name, ids in table.scored_categories.items()}
    wide = {name: list(ids) for name, ids in table.instance_categories.items()}
    iou = {
        "classes": np.array([_iou(counts_LL, ids, evaluated) for ids in classes.values()]),
        "categories": np.array([_iou(counts_LL, ids, evaluated) for ids in categories.values()]),
    }
    iiou = {key: np.full(len(values), np.nan) for key, values in iou.items()}
    if instances_I4 is not None:
        for key, members, hits in (("classes", classes, 2), ("categories", categories, 3)):
            for place, (name, ids) in enumerate(members.items()):
                if name not in (AVERAGE_SIZE if key == "classes" else wide):
                    continue
                own = instances_I4[np.isin(instances_I4[:, 0], ids)]
                columns = ids if key == "classes" else wide[name]
                others = [i for i in evaluated if i not in ids]
                iiou[key][place] = _instance_iou(own, hits, int(counts_LL[np.ix_(others, columns)].sum()))
    return {
        **{
            key: _named(list(members), iou[key], iiou[key])
            for key, members in (("classes", classes), ("categories", categories))
        },
        "averages": {
            "iou": _plain(mean_in_order(iou["classes"])),
            "iiou": _plain(mean_in_order(iiou["classes"])),
            "category_iou": _plain(mean_in_order(iou["categories"])),
            "category_iiou": _plain(mean_in_order(iiou["categories"])),
        },
        "instances": None if instances_I4 is None else len(instances_I4),
    }


def _iou(counts_LL: Counts, ids: list[int], evaluated: list[int]) -> float:
    """Of a class or category: what is called an ignored id is a miss, what truly is one counts nowhere."""
    hit = counts_LL[np.ix_(ids, ids)].sum()
    truth = counts_LL[ids].sum()
    false = counts_LL[np.ix_([i for i in evaluated if i not in ids], ids)].sum()
    return float(ratio(hit[None], (truth + false)[None])[0])


def _instance_iou(rows_I4: NDArray[np.int64], hits: int, false: int) -> float:
    """iTP / (iTP + FP + iFN). Sums go instance by instance, as in the script: another order has other last bits."""
    sizes_L = np.array([AVERAGE_SIZE.get(name, np.nan) for name in label_ids().names])
    weight_I = sizes_L[rows_I4[:, 0]] / rows_I4[:, 1]
    right = _in_order(rows_I4[:, hits] * weight_I)
    missed = _in_order((rows_I4[:, 1] - rows_I4[:, hits]) * weight_I)
    whole = right + false + missed
    return right / whole if whole else float("nan")


def _in_order(values: Floats) -> float:
    return float(np.cumsum(values)[-1]) if values.size else 0.0


def _named(names: list[str], iou: Floats, iiou: Floats) -> dict[str, dict[str, float | None]]:
    return {
        name: {"iou": _plain(one), "iiou": _plain(other)}
        for name, one, other in zip(names, iou.tolist(), iiou.tolist(), strict=True)
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
