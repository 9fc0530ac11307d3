"""The top of the page: the score, why it is not higher, what to beware of, and the worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segwright.evaluation.error_budget import ErrorBudget
from segwright.evaluation.hardest import Mistake
from segwright.evaluation.result import Evaluation
from segwright.report.content import MistakePicture
from segwright.report.pictures import Embedded, close_up, embed
from segwright.report.tables import ClassRow
from segwright.report.wording import THIN, count, listing, percent, points

MANY = 30  # classes beyond which single ones no longer decide the mean


@dataclass(frozen=True)
class Measure:
    """One number beside the main one, with what it means in half a sentence."""

    name: str
    value: float
    meaning: str


def measures(evaluation: Evaluation) -> list[Measure]:
    scores = evaluation.scores
    return [
        Measure("Pixel accuracy", scores.accuracy, "of all labelled pixels are right"),
        Measure("Mean accuracy", evaluation.rule.mean_accuracy(scores), "of a class’s pixels found, on average"),
        Measure("Weighted IoU", scores.weighted_iou, "classes weighted by their pixels"),
        Measure("Micro IoU", scores.micro_iou, "all classes counted together"),
        Measure("Macro F1", scores.macro_f1, "mean Dice of the classes"),
    ]


def why_low(rows: Sequence[ClassRow], miou: float) -> str:
    """Which classes hold the mean down, how rare they are, and what they are taken for; "" when no class does."""
    counted = sorted((row for row in rows if math.isfinite(row.iou)), key=lambda row: row.iou)
    if len(counted) > MANY:
        low = [row for row in counted if row.iou < miou / 2]
        if not low:
            return ""
        lowest = listing([f"{row.name} ({percent(row.iou)})" for row in low[:3]])
        return (
            f"What holds it down: {len(low)} of {len(counted)} classes score less than half the mean; they cover "
            f"{_share(low)} of the labelled pixels. The lowest: {lowest}."
        )
    low = [row for row in counted[: min(3, len(counted) // 3)] if row.iou < miou]
    if not low:
        return ""
    named = [
        f"{row.name} ({percent(row.iou)}{f', most often mistaken for {row.taken_for}' if row.taken_for else ''})"
        for row in low
    ]
    rest = [row.iou for row in counted if row not in low]
    return (
        f"What holds it down: {listing(named)}. {'They cover' if len(low) > 1 else 'It covers'} {_share(low)} of the "
        f"labelled pixels; the mean of the other {len(rest)} classes is {percent(math.fsum(rest) / len(rest))}."
    )


def where_lost(budget: ErrorBudget | None) -> str:
    """How the lost points share out: borders, missed and invented regions, the rest; the costliest confusion."""
    if budget is None:
        return ""
    gains = {step.key: step.gain for step in budget.steps}
    near = math.fsum(gains[key] for key in ("border-1", "border-3", "border-5"))
    told = (
        f"Of the {points(budget.ceiling - budget.miou).removeprefix('+')} points that are lost, {points(near)} lie within "
        f"5{THIN}px of true borders, {points(gains['missed'] + gains['small'])} in missed or small regions, "
        f"{points(gains['invented'])} in invented ones and {points(gains['rest'])} inside of larger regions (each counted "
        "after those before it)."
    )
    if budget.pairs:
        told += f" The costliest confusion is {budget.pairs[0].title}: {points(budget.pairs[0].gain.value)} if solved."
    return told.replace(" +", " ")


def _share(rows: Sequence[ClassRow]) -> str:
    return percent(math.fsum(row.share for row in rows if math.isfinite(row.share)))


def caveats(evaluation: Evaluation) -> list[str]:
    """What a reader must know before trusting the number."""
    told = []
    groups, pictures = set(evaluation.groups), len(evaluation.names)
    if pictures > 1 and len(groups) == 1:
        name = f" ({evaluation.groups[0]})" if evaluation.groups[0] else ""
        told.append(
            f"All {count(pictures)} pictures come from one sequence{name}: expect other scenes to differ, and read "
            "small differences as noise."
        )
    elif pictures == 1:
        told.append("This is the score of a single picture: it says little about others.")
    if evaluation.left_out:
        one = len(evaluation.left_out) == 1
        told.append(
            f"{'Class' if one else 'Classes'} {listing(evaluation.left_out)} {'is' if one else 'are'} in neither truth "
            "nor prediction: shown as “–” and left out of the mean."
        )
    return told


@dataclass(frozen=True)
class MistakeCard:
    mistake: Mistake
    picture: Embedded | None
    picture_name: str
    where: str


def mistake_card(item: Mistake | MistakePicture) -> MistakeCard:
    mistake = item.mistake if isinstance(item, MistakePicture) else item
    picture, name = None, ""
    if isinstance(item, MistakePicture):
        picture, name = embed(close_up(item.image, item.region, item.box)), item.name
    others = listing([part.name for part in mistake.pictures if part.name != name])
    if name:
        where = f"Shown: {name}." + (f" Much of it also in {others}." if others else "")
    else:
        where = f"Most in {others}." if others else ""
    return MistakeCard(mistake, picture, name, where)
