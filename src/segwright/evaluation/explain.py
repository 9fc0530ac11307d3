"""Why your number differs: one model's predictions under every convention that is called mIoU somewhere.

From the headline's definition to that of another convention one choice changes at a time; each change is a step in
points, and the steps add up to the difference.
Letters: N pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from segwright.contracts import UserError
from segwright.evaluation.definitions import Definition, Seen, Step, chain, score
from segwright.evaluation.result import Evaluation
from segwright.metrics.conventions import Resized, SizeOf, VoidPredictions
from segwright.metrics.measure import Measure
from segwright.metrics.protocols import PROTOCOLS, Protocol, find_protocol

if TYPE_CHECKING:
    from rich.table import Table

    from segwright.labels import LabelSpace


@dataclass(frozen=True, kw_only=True)
class Row:
    """One convention. value: 0..1, NaN where undefined. users: who scores so. steps: from the headline to here."""

    key: str
    title: str
    sentence: str
    users: str
    value: float
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """rows: every convention, the highest score first, undefined ones last; the headline is the row with its key."""

    run: str
    split: str
    space: str
    pictures: int
    headline: str
    rows: tuple[Row, ...]

    def row(self, key: str) -> Row:
        """A convention by its key. Raises KeyError for one that is not there."""
        return {row.key: row for row in self.rows}[key]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; None for undefined numbers."""
        return {
            "run": self.run,
            "split": self.split,
            "labels": self.space,
            "pictures": self.pictures,
            "headline": self.headline,
            "conventions": [
                {
                    "key": row.key,
                    "title": row.title,
                    "value": None if np.isnan(row.value) else row.value,
                    "definition": row.sentence,
                    "users": row.users,
                    "steps": [{"text": step.text, "change": step.change} for step in row.steps],
                }
                for row in self.rows
            ],
        }

    def table(self) -> Table:
        """For terminals: `rich.print(explanation.table())`."""
        from segwright.evaluation.explain_table import explain_table

        return explain_table(self)


@dataclass(frozen=True)
class _Convention:
    key: str
    title: str
    sentence: str
    users: str
    definition: Definition


_CONVENTIONS = (
    _Convention(
        "pooled",
        "pooled mIoU",
        "pixels of all pictures counted together, void ignored, mean over the classes in truth or prediction",
        "Cityscapes, mmsegmentation, Segwright",
        Definition(),
    ),
    _Convention(
        "truth",
        "mean over true classes",
        "as pooled, but classes without true pixels are left out, whatever was predicted",
        "detectron2, COCO-Stuff's code",
        Definition(classes="truth"),
    ),
    _Convention(
        "absent-zero",
        "absent classes count 0",
        "as pooled, but the sum is divided by all classes: one without true pixels counts 0",
        "SegNet's CamVid script, ADE20K's kit, Ultralytics since its change 24552",
        Definition(classes="all"),
    ),
    _Convention(
        "gapless",
        "absent classes spread",
        "as pooled, but a class in neither truth nor prediction makes the mean undefined",
        "torchvision's reference scripts",
        Definition(classes="gapless"),
    ),
    _Convention(
        "void-false",
        "void counts as false",
        "as pooled, but what is predicted on void pixels counts as false pixels of its class",
        "scripts that drop void from the hits and forget it in the union",
        Definition(void=True),
    ),
    _Convention(
        "class-pictures",
        "pictures averaged for each class",
        "IoU of each class in each picture that has it in truth or prediction, mean over these, then over classes",
        "nnU-Net's summary (for its foreground)",
        Definition(unit="class"),
    ),
    _Convention(
        "class-true-pictures",
        "true pictures averaged for each class",
        "the same over the pictures whose truth has the class: false pixels elsewhere cost nothing",
        "the SUIM paper, on resized masks",
        Definition(unit="class", classes="truth"),
    ),
    _Convention(
        "picture",
        "mean of each picture's mIoU",
        "mIoU of each picture over the classes in its truth or prediction, then the mean over pictures",
        "loops that average a score for each picture",
        Definition(unit="picture"),
    ),
    _Convention(
        "weighted",
        "frequency-weighted IoU",
        "class IoU of all pictures together, weighted by true pixels",
        "COCO-Stuff's and detectron2's fwIoU",
        Definition(weights="truth"),
    ),
    _Convention(
        "micro",
        "micro IoU",
        "hits of all classes over unions of all classes",
        "torchgeo",
        Definition(weights="union"),
    ),
)
_RESIZED = "resized"

_OFFICIAL: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "cityscapes": {
        "iiou": ("iIoU", "each true instance weighs as if it had the average size of its class; 8 classes"),
        "category_iou": ("category IoU", "classes of one category are taken together; mean over 7 categories"),
        "category_iiou": ("category iIoU", "iIoU of the categories human and vehicle"),
    },
    "suim-paper": {
        "iou": (
            "IoU of the SUIM paper",
            "five binary masks at 320×240, mean over the pictures whose truth has the class",
        ),
    },
}
"""Measure -> number of its `averages` -> title and sentence: what pooled counts cannot say."""


def fitting_protocols(space: LabelSpace) -> tuple[Protocol, ...]:
    """The named protocols that score the classes of a space."""
    return tuple(rule.for_space(space) for rule in PROTOCOLS.values() if _fits(rule, space))


def _fits(rule: Protocol, space: LabelSpace) -> bool:
    try:
        rule.check(space)
    except UserError:
        return False
    return True


def measures_for(space: LabelSpace) -> tuple[str, ...]:
    """Names of the measures that `explain` wants to find in an evaluation."""
    return tuple(dict.fromkeys(rule.measure for rule in fitting_protocols(space) if rule.measure))


def extra_measures(space: LabelSpace, size_of: SizeOf | None) -> list[Measure]:
    """The further measures that `explain` needs. size_of: the size that pictures are resized to, None for no such row."""
    return [VoidPredictions(space), *([] if size_of is None else [Resized(space, size_of)])]


def explain(evaluation: Evaluation, *, protocol: str) -> Explanation:
    """Every convention's score of one evaluation, and how each comes about from the protocol's.

    evaluation: under the protocol `pooled`, with `extra_measures`, and with `measures_for` its space where those could
    be taken. protocol: the one whose mIoU is the headline. Raises UserError when it does not score these classes.
    """
    headline = find_protocol(protocol).for_space(evaluation.space)
    headline.check(evaluation.space)
    seen = _seen(evaluation)
    start = _definition(headline)
    conventions = _all_conventions(evaluation, start, resized=True in seen)
    rows = [
        Row(
            key=one.key,
            title=one.title,
            sentence=one.sentence,
            users=one.users,
            value=score(one.definition, seen[one.definition.resized]),
            steps=chain(start, one.definition, seen),
        )
        for one in conventions
    ]
    key = next(one.key for one in conventions if one.definition == start)
    value = score(start, seen[start.resized])
    rows += _official_rows(evaluation, value)
    if not headline.counted:
        key = f"{headline.measure}.iou"
        rows = _from_another(rows, key)
    rows = [replace(row, steps=()) if row.key == key else row for row in rows]
    return Explanation(
        run=evaluation.run,
        split=evaluation.split,
        space=evaluation.space.name,
        pictures=len(evaluation.names),
        headline=key,
        rows=tuple(sorted(rows, key=lambda row: -np.inf if np.isnan(row.value) else row.value, reverse=True)),
    )


def _seen(evaluation: Evaluation) -> dict[bool, Seen]:
    """By whether prediction and mask were resized."""
    arrays, counts_NKK = evaluation.arrays, evaluation.counts_NKK
    missed_NK = evaluation.missed_NK
    none_NK = np.zeros(counts_NKK.shape[:2], np.int64)
    found = {
        False: Seen(
            counts_NKK, none_NK if missed_NK is None else missed_NK, arrays[f"{VoidPredictions.name}.predicted"]
        )
    }
    if f"{Resized.name}.counts" in arrays:
        found[True] = Seen(*(arrays[f"{Resized.name}.{key}"] for key in ("counts", "missed", "void")))
    return found


def _definition(rule: Protocol) -> Definition:
    """Of the mean that pooled counts give under a protocol."""
    return Definition(classes=rule.mean_over, without=rule.void)


def _all_conventions(evaluation: Evaluation, start: Definition, *, resized: bool) -> list[_Convention]:
    """Those above, those of protocols that differ from all of them, and, where it was measured, the resized one."""
    found = []
    for one in _CONVENTIONS:
        of_weights = one.definition.weights != "equal"  # there the choice of classes changes nothing
        definition = replace(one.definition, classes=start.classes) if of_weights else one.definition
        found.append(replace(one, definition=definition))
    if resized:
        size = evaluation.measures[Resized.name]["size"]
        found.append(
            _Convention(
                _RESIZED,
                f"at {size}",
                "as pooled, but prediction and mask are resized first, each pixel the nearest one",
                "loops that score at the network's size",
                Definition(resized=True),
            )
        )
    for rule in fitting_protocols(evaluation.space):
        if not rule.counted:
            continue
        definition = _definition(rule)
        place = next((i for i, one in enumerate(found) if one.definition == definition), None)
        if place is None:
            found.append(_Convention(rule.name, f"mIoU of {rule.name}", _short(rule), "", definition))
            place = len(found) - 1
        own = found[place]
        users = ", ".join(part for part in (own.users, f"protocol {rule.name}") if part)
        found[place] = replace(own, users=users)
    return found


def _short(rule: Protocol) -> str:
    return rule.sentence.removeprefix(f"{rule.name}: ").removesuffix(".")


def _official_rows(evaluation: Evaluation, headline: float) -> list[Row]:
    """What the protocols' own measures say."""
    rows = []
    rules = fitting_protocols(evaluation.space)
    for measure, numbers in _OFFICIAL.items():
        averages = evaluation.measures.get(measure, {}).get("averages", {})
        users = ", ".join(f"protocol {rule.name}" for rule in rules if rule.measure == measure)
        for name, (title, sentence) in numbers.items():
            value = averages.get(name)
            if value is None:
                continue
            step = Step(f"it measures something else: {sentence}", None if np.isnan(headline) else value - headline)
            rows.append(
                Row(key=f"{measure}.{name}", title=title, sentence=sentence, users=users, value=value, steps=(step,))
            )
    return rows


def _from_another(rows: Sequence[Row], key: str) -> list[Row]:
    """The steps from a headline that is no function of counts: first to the pooled mean, then on as before."""
    values = {row.key: row.value for row in rows}
    if key not in values:
        raise UserError(f"the headline '{key}' was not measured on this data: choose another protocol, such as pooled.")
    first = Step("pooled counts at original size instead", _difference(values[key], values["pooled"]))
    return [
        replace(row, steps=(Step(row.steps[0].text, _difference(values[key], row.value)),))
        if "." in row.key and row.steps
        else replace(row, steps=(first, *(step for step in row.steps if step.change != 0)))
        for row in rows
    ]


def _difference(before: float, after: float) -> float | None:
    return None if np.isnan(before) or np.isnan(after) else after - before
