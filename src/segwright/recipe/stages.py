"""The stages of a training: which epochs each has, and the whole recipe that holds in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from segwright.contracts import UserError
from segwright.names import did_you_mean
from segwright.recipe.explaining import explained
from segwright.recipe.schema import Augmentation, Loss, Optimizer, Recipe, Schedule, Stage

CHANGEABLE: dict[str, tuple[str, ...]] = {
    "model": ("freeze",),
    "loss": tuple(Loss.model_fields),
    "optimizer": tuple(Optimizer.model_fields),
    "schedule": tuple(Schedule.model_fields),
    "augmentation": tuple(Augmentation.model_fields),
    "training": ("batch", "accumulation", "clip_norm", "val_every", "patience", "min_delta"),
}
"""Section -> its keys that a stage may change. The rest decides what the run is, or was measured for all of it."""


@dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """What holds from epoch `start` (0 for the first) up to, not including, epoch `end`.

    name: None where the recipe has no stages. recipe: complete, with the stage's changes and without `stages`.
    """

    name: str | None
    start: int
    end: int
    recipe: Recipe
    fresh_optimizer: bool


def stage_recipes(
    recipe: Recipe, origins: Mapping[str, str] | None = None, where: str = "recipe"
) -> tuple[StageRecipe, ...]:
    """The stages in order, together all epochs; a recipe without stages is one.

    origins, where: where keys were written, for messages. Raises UserError for stages that do not add up to
    training.epochs, keys that cannot change, and wrong values.
    """
    if not recipe.stages:
        whole = StageRecipe(name=None, start=0, end=recipe.training.epochs, recipe=recipe, fresh_optimizer=False)
        return (whole,)
    found: list[StageRecipe] = []
    for index, (name, end) in enumerate(zip(_names(recipe), _ends(recipe), strict=True)):
        stage = recipe.stages[index]
        one = StageRecipe(
            name=name,
            start=found[-1].end if found else 0,
            end=end,
            recipe=_merged(recipe, stage, index, origins or {}, where),
            fresh_optimizer=stage.fresh_optimizer,
        )
        if found:
            _refuse_other_moments(found[-1], one, index)
        found.append(one)
    return tuple(found)


def in_every_stage(recipe: Recipe, change: Callable[[Recipe], Recipe]) -> Recipe:
    """The recipe with `change` made to it, and to the loss and augmentation of each stage."""
    changed = change(recipe)
    stages: list[Stage] = []
    for stage, own in zip(changed.stages, stage_recipes(changed), strict=False):
        after = change(own.recipe)
        filled = {
            section: getattr(after, section).model_dump()
            for section in ("loss", "augmentation")
            if getattr(after, section) != getattr(own.recipe, section)
        }
        stages.append(stage.model_copy(update=filled))
    return changed.model_copy(update={"stages": stages})


def _names(recipe: Recipe) -> list[str]:
    names = [stage.name or f"stage {number}" for number, stage in enumerate(recipe.stages, start=1)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two of the stages have the name '{twice[0]}'; give each its own.")
    return names


def _ends(recipe: Recipe) -> list[int]:
    """The epoch with which each stage ends, rising up to training.epochs."""
    total, ends = recipe.training.epochs, list[int]()
    for index, stage in enumerate(recipe.stages):
        before = ends[-1] if ends else 0
        if stage.until is not None and stage.epochs is not None:
            raise UserError(f"stages.{index} has `until` and `epochs`; they say the same, so keep one.")
        if stage.until is None and stage.epochs is None and index < len(recipe.stages) - 1:
            raise UserError(f"stages.{index} does not say when it ends: give it `until` (an epoch) or `epochs`.")
        end = stage.until if stage.epochs is None else before + stage.epochs
        ends.append(total if end is None else end)
        if ends[-1] <= before:
            raise UserError(
                f"stages.{index} ends with epoch {ends[-1]}, and the stage before it with epoch {before}: it has no epochs."
            )
    if ends[-1] != total:
        raise UserError(
            f"the stages end with epoch {ends[-1]}, and training.epochs is {total}. Make both equal; the last stage may "
            "leave out `until` and `epochs`. stages=[] trains without stages."
        )
    return ends


def _merged(recipe: Recipe, stage: Stage, index: int, origins: Mapping[str, str], where: str) -> Recipe:
    """The recipe with the changes of one stage."""
    content = recipe.model_dump() | {"stages": []}
    for section, allowed in CHANGEABLE.items():
        changes = getattr(stage, section)
        if changes is None:
            continue
        for key in changes:
            if key not in allowed:
                hint = did_you_mean(key, allowed)
                origin = origins.get(f"stages.{index}.{section}.{key}", where)
                raise UserError(
                    f"{origin}: stages.{index}.{section} cannot change '{key}'.{hint} A stage may change there: "
                    f"{', '.join(allowed)}."
                )
        if section == "training" and changes.get("batch") == "auto":
            origin = origins.get(f"stages.{index}.training.batch", where)
            raise UserError(
                f"{origin}: stages.{index}.training.batch is auto; a stage takes a number. training.batch=auto outside the "
                "stages is measured with the largest crop of all of them."
            )
        content[section] = _changed(getattr(recipe, section), changes)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        items = [item | {"loc": ("stages", str(index), *item["loc"])} for item in map(dict[str, Any], error.errors())]
        raise UserError("\n".join(explained(item, origins, where) for item in items)) from None


def _changed(section: BaseModel, changes: dict[str, Any]) -> dict[str, Any]:
    before = section.model_dump()
    after = before | changes
    args = changes.get("args", {})
    if "args" in before and isinstance(args, dict):
        same = after["name"] == before["name"]
        after["args"] = {**(before["args"] if same else {}), **args}
    return after


def _refuse_other_moments(before: StageRecipe, stage: StageRecipe, index: int) -> None:
    """Moments of one optimiser mean nothing to another."""
    one, other = before.recipe.optimizer, stage.recipe.optimizer
    if (one.name, one.args) != (other.name, other.args) and not stage.fresh_optimizer:
        raise UserError(
            f"stages.{index} changes optimizer.name or optimizer.args, and the moments of the optimiser before it do not "
            "fit: give the stage `fresh_optimizer: true`."
        )
