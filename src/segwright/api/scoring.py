"""What `evaluate` needs beside a model: which data, instance maps for protocols that score them, prediction files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import counting
from segwright.contracts import DataError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.contracts import Dataset
    from segwright.evaluation.result import Evaluation
    from segwright.labels import LabelSpace
    from segwright.metrics.protocols import Protocol
    from segwright.models import Segmenter
    from segwright.recipe import Data
    from segwright.runs import Run


def is_crossval(source: str | Path, runs: Path) -> bool:
    """Whether a path, or a name under `runs`, is the folder of a cross-validation."""
    return any((path / "crossval.json").is_file() for path in (Path(source), runs / str(source)))


def check_data_keys(overrides: Sequence[str]) -> None:
    """Raises UserError for a key that is no `data.*` key."""
    if wrong := [o for o in overrides if not o.startswith(("data.", "root="))]:
        raise UserError(
            f"'{wrong[0]}': evaluate takes data.* keys alone; everything else is fixed in the model. To score in another "
            "label space, use --labels."
        )


def scored_set(data: Data, split: str, space: LabelSpace, rule: Protocol, console: Console) -> Dataset:
    """The split to score; with instance maps where the protocol scores instances and the data set has them.

    Without maps the console says that iIoU is undefined; `data.args.instances` decides, where it is given.
    """
    import inspect

    from segwright.build import build_scored_set
    from segwright.data import DATASETS

    reader = DATASETS.get(data.name)
    known = reader is not None and "instances" in inspect.signature(reader).parameters
    if not rule.instances or not known or "instances" in data.args:
        return build_scored_set(data, split, space)
    plain = build_scored_set(data, split, space)
    try:
        return build_scored_set(data.model_copy(update={"args": {**data.args, "instances": True}}), split, space)
    except (DataError, UserError):
        console.print(
            f"{data.name} holds no instance map for some picture of '{split}': iIoU is undefined.", highlight=False
        )
        return plain


def score_files(
    folder: Path,
    run: Run | None,
    overrides: Sequence[str],
    *,
    ids: str | None,
    split: str | None,
    protocol: str | None,
    labels: str | None,
    measures: Sequence[str],
    console: Console,
) -> Evaluation:
    """Score a folder of prediction files on a run's data, or on that of `data.*` keys."""
    from segwright.evaluation.measures import find_measures
    from segwright.evaluation.predictions import evaluate_predictions
    from segwright.metrics.protocols import find_protocol

    data, default_protocol, space = open_for_files(run, overrides, labels=labels)
    split, rule = split or data.val, find_protocol(protocol or default_protocol)
    dataset = scored_set(data, split, space, rule, console)
    with counting(console, f"scoring {folder.name}") as progress:
        result = evaluate_predictions(
            folder,
            dataset,
            space,
            split=split,
            ids=ids,
            protocol=rule.name,
            measures=find_measures(measures),
            progress=progress,
        )
    if left_out := [name for name in find_measures(measures) if name not in result.measures]:
        console.print(f"Not measured on these files: {', '.join(left_out)}.", highlight=False)
    return result


def open_for_files(run: Run | None, overrides: Sequence[str], *, labels: str | None) -> tuple[Data, str, LabelSpace]:
    """Data, protocol and label space to score prediction files in: of a run, or of `data.*` keys alone."""
    from segwright.build import build_space, score_space
    from segwright.recipe import load_recipe

    check_data_keys(overrides)
    if run is not None:
        recipe = load_recipe(run.recipe_file, overrides).recipe
        data, protocol, own = recipe.data, recipe.protocol, score_space(recipe)
    else:
        data = _data_alone(overrides, labels)
        protocol, own = "pooled", build_space(data.labels)
    return data, protocol, own if labels is None else build_space(labels, "--labels")


def _data_alone(overrides: Sequence[str], labels: str | None) -> Data:
    """The data of `data.*` keys; name and label space are found by the folder where they are not given."""
    from segwright.data.recognise import default_labels, recognise
    from segwright.recipe.loading import data_from

    given = dict(o.removeprefix("data.").split("=", 1) for o in overrides if "=" in o)
    root = given.get("root")
    if root is None and "name" not in given:
        raise UserError(
            "which pictures the predictions are of is missing: add data.root=DIR, or a run before --predictions."
        )
    folder = None if root is None else Path(root).expanduser()
    name = given.get("name") or (None if folder is None else recognise(folder))
    if name is None:
        raise UserError(f"data.root={root}: what data set this is cannot be seen from its folders. Add data.name=NAME.")
    usual = labels or (default_labels(name, folder) if folder is not None else "cityscapes19")
    if "labels" not in given and usual is None:
        raise UserError(f"data set '{name}' has no usual label space: add data.labels=SPACE.")
    extra = [] if "name" in given else [f"data.name={name}"]
    extra += [] if "labels" in given else [f"data.labels={usual}"]
    return data_from([*overrides, *extra], labels={})


def data_of(run: Run | None, segmenter: Segmenter, overrides: Sequence[str]) -> tuple[Data, str]:
    """What to read, and the protocol: of the run with `data.*` overrides, or of the overrides alone."""
    from segwright.recipe import load_recipe
    from segwright.recipe.loading import data_from

    check_data_keys(overrides)
    if run is None and not any(o.startswith("data.name=") for o in overrides):
        raise UserError(
            "a model file alone does not say which pictures to score on. Add them, such as: "
            "segwright evaluate model.safetensors data.name=paired_folders data.root=DIR"
        )
    if run is not None:
        recipe = load_recipe(run.recipe_file, overrides).recipe
        return recipe.data, recipe.protocol
    return data_from(overrides, labels=segmenter.labels.to_dict()), "pooled"
