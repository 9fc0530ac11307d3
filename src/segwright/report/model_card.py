"""The model card: what a trained model is, how well it does and how sure that is, what it was trained on, where it fails.

Markdown that stands beside the model. It says only what is known: a section without facts is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segwright.evaluation.hardest import worst_mistakes
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelSpace
from segwright.metrics.intervals import Interval, Resampled
from segwright.recipe import Recipe
from segwright.report.answer import caveats
from segwright.report.colors import to_hex
from segwright.report.tables import class_rows
from segwright.report.wording import NONE, count, duration, listing, number, percent

CARD_FILE = "MODEL_CARD.md"


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card is written from.

    parameters: of the model. architecture: one sentence about it, "" where there is none. licence: of the weights;
    code_licence: of the architecture. start: the weights that training began with. labels: the model's own classes.
    temperature: what its scores are divided by, or None. data: fingerprint by split. history: rows of metrics.jsonl.
    notes: what a reader must know, a sentence each.
    """

    run: str
    recipe: Recipe
    evaluation: Evaluation
    labels: LabelSpace
    parameters: int
    licence: str
    architecture: str = ""
    code_licence: str = ""
    start: str = "random numbers"
    temperature: Sequence[float] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def model_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    parts = [_head(facts), _results(facts), _further(facts.evaluation.measures), _classes(facts), _use(facts)]
    parts += [_data(facts), _training(facts), _limits(facts), _licence(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(facts: CardFacts) -> str:
    model = facts.recipe.model.name
    told = f"\n\n{facts.architecture}" if facts.architecture else ""
    return (
        f"# {_safe(facts.run)}\n\nA semantic segmentation model: `{model}` with {count(facts.parameters)} parameters and "
        f"{facts.labels.num_classes} classes (label space {_code(facts.labels.name)}), trained on "
        f"`{facts.recipe.data.name}`.{told}"
    )


def _results(facts: CardFacts) -> str:
    evaluation = facts.evaluation
    if not evaluation.names or math.isnan(evaluation.miou):
        return "## Results\n\nNo pixel of the scored split is labelled, so nothing could be measured."
    drawn = Resampled(evaluation.counts_NKK, evaluation.groups)
    miou, accuracy = drawn.interval(drawn.miou_R(evaluation.protocol)), drawn.interval(drawn.accuracy_R)
    rows = [
        ["mIoU", percent(evaluation.miou), _bounds(miou)],
        ["pixel accuracy", percent(evaluation.accuracy), _bounds(accuracy)],
        ["mean accuracy", percent(evaluation.rule.mean_accuracy(evaluation.scores)), ""],
    ]
    return (
        f"## Results\n\n{_table(['measure', 'value', '95 % interval'], rows)}\n\nOn {count(len(evaluation.names))} pictures "
        f"of split {_code(evaluation.split)} at their original size, checkpoint {_code(evaluation.checkpoint)}. Protocol "
        f"{evaluation.rule.sentence} Intervals: {miou.conditions}."
    )


def _bounds(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return NONE
    return f"{percent(interval.low)} to {percent(interval.high)}"


def _further(measures: Mapping[str, Mapping[str, Any]]) -> str:
    """Calibration and borders, where they were measured."""
    rows = list(_measured(measures))
    return f"## Further measures\n\n{_table(['measure', 'value', 'what it means'], rows)}" if rows else ""


def _measured(measures: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    sure = measures.get("calibration", {})
    if (ece := sure.get("ece")) is not None:
        yield ["ECE", percent(ece), "how far confidence and share of right pixels lie apart on average; 0 is perfect"]
    if (nll := sure.get("nll")) is not None:
        yield ["negative log-likelihood", f"{number(nll)} nats a pixel", "the smaller, the better the probabilities"]
    borders = measures.get("boundary", {})
    if (found := borders.get("boundary_iou", {}).get("mean")) is not None:
        yield ["boundary IoU", percent(found), "IoU of the bands along the borders of classes, mean over classes"]
    for name, score in borders.get("boundary_f", {}).get("tolerances", {}).items():
        if score.get("mean") is not None:
            yield [f"boundary F, {name}", percent(score["mean"]), f"borders found within {score.get('within', name)}"]


def _classes(facts: CardFacts) -> str:
    evaluation = facts.evaluation
    drawn = Resampled(evaluation.counts_NKK, evaluation.groups) if evaluation.names else None
    rows = []
    for row in class_rows(evaluation, []):
        interval = drawn.interval(drawn.iou_RK[:, row.id]) if drawn and math.isfinite(row.iou) else None
        rows.append(
            [
                str(row.id), _safe(row.name), f"`{to_hex(evaluation.space.classes[row.id].color)}`", percent(row.iou),
                _bounds(interval) if interval else NONE, percent(row.precision), percent(row.recall), percent(row.share, 2),
            ]
        )  # fmt: skip
    head = ["id", "class", "colour", "IoU", "95 % interval", "precision", "recall", "share of pixels"]
    other = ""
    if evaluation.space.class_names != facts.labels.class_names:
        names = listing([_safe(name) for name in facts.labels.class_names], most=40)
        other = f"\n\nScored in label space {_code(evaluation.space.name)}; the model itself tells {names}."
    return f"## Classes\n\n{_table(head, rows)}\n\n“{NONE}” is undefined, never 0.{other}"


def _use(facts: CardFacts) -> str:
    side = facts.recipe.model.short_side
    seen = f"It sees pictures with a shorter side of {side} pixels" if side else "It sees pictures at their own size"
    scaled = ""
    if facts.temperature is not None:
        values = ", ".join(f"{value:.3g}" for value in facts.temperature[:8])
        scaled = f" Its scores are divided by a fitted temperature ({values}), so that its probabilities can be read as such."
    return (
        f"## Use\n\n```bash\nsegwright predict runs/{facts.run} PICTURES -o predictions\n```\n\n"
        f"Input: RGB pictures of any size, 8 bits a channel; normalisation is inside of the model. {seen}. Output: one class "
        f"id a pixel, in the order above, at the size of the picture.{scaled}"
    )


def _data(facts: CardFacts) -> str:
    rows = [
        [
            _safe(split), count(found["pictures"]) if "pictures" in found else NONE,
            _safe(listing([str(size) for size in found.get("sizes", {})], most=4)),
            percent(found.get("ignored_share"), 1), f"`{str(found.get('sha256', NONE))[:16]}`",
        ]
        for split, found in facts.data.items()
        if isinstance(found, Mapping)
    ]  # fmt: skip
    if not rows:
        return ""
    head = ["split", "pictures", "sizes", "void", "fingerprint (sha256)"]
    return (
        f"## Data\n\n{_table(head, rows)}\n\nThe fingerprint covers pictures and masks: equal ones mean the same data."
    )


def _training(facts: CardFacts) -> str:
    recipe = facts.recipe
    epochs = [row for row in facts.history if row.get("kind") == "train"]
    seconds = math.fsum(float(row["seconds"]) for row in facts.history if isinstance(row.get("seconds"), int | float))
    took = f", {duration(seconds)}" if seconds else ""
    told = [
        f"- {len(epochs) or recipe.training.epochs} of {recipe.training.epochs} epochs{took}, batch {recipe.training.batch}",
        f"- loss `{recipe.loss.name}`, optimiser `{recipe.optimizer.name}` with a learning rate of {recipe.optimizer.lr:g}, "
        f"schedule `{recipe.schedule.name}`, augmentation `{recipe.augmentation.name}`, seed {recipe.seed}",
        f"- started from: {_safe(facts.start)}",
    ]
    packages = facts.environment.get("packages", {})
    if isinstance(packages, Mapping) and "torch" in packages:
        told.append(
            f"- with torch {packages['torch']}; `environment.json` and `recipe.yaml` hold all versions and settings"
        )
    return "## Training\n\n" + "\n".join(told)


def _limits(facts: CardFacts) -> str:
    evaluation = facts.evaluation
    told = [*caveats(evaluation), *facts.notes]
    told += [mistake.sentence for mistake in worst_mistakes(evaluation)]
    iou = {name: value for name, value in evaluation.iou.items() if value is not None}
    weak = [f"{name} ({percent(value)})" for name, value in sorted(iou.items(), key=lambda i: i[1]) if value < 0.5]
    if weak:
        told.append(f"Below 50 % IoU: {listing(weak, most=10)}.")
    told.append(
        "The scores hold for pictures like those scored: other cameras, places, seasons and light were not measured. It "
        "must not decide alone where people could come to harm."
    )
    return "## Limits\n\n" + "\n".join(f"- {_safe(text)}" for text in told)


def _licence(facts: CardFacts) -> str:
    code = f" Code of the architecture: {_safe(facts.code_licence)}." if facts.code_licence else ""
    weights = facts.licence.rstrip(".")
    if weights == "not stated":
        weights = "none was set: what the training data and the initial weights allow applies"
    return f"## Licence\n\nWeights: {_safe(weights)}.{code}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    """A name in code letters."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def _safe(text: str) -> str:
    """A name inside of Markdown: nothing in it makes a cell, a tag, a heading or a line of its own."""
    kept = " ".join(str(text).split())
    for mark in "\\`|<>[]*_#":
        kept = kept.replace(mark, f"\\{mark}")
    return kept
