"""From a recipe to objects. A component's `args` are checked against its own signature before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segwright.contracts import Dataset, UserError
from segwright.data import DATASETS, WEIGHTS_LICENCES
from segwright.data.augment import AUGMENTATIONS, Augment
from segwright.data.cache import Progress
from segwright.data.mixing import Mixture, Part, mix
from segwright.data.pairs import PairedFiles
from segwright.data.skipping import Skipped, open_skipping, without_bad
from segwright.data.splits import open_part
from segwright.labels import LabelSpace, load_label_space
from segwright.labels.mapping import LabelMap, map_labels
from segwright.losses import LOSSES, SINGLE_LOSSES, Combined, SegmentationLoss
from segwright.models import MODELS, Segmenter, build_architecture
from segwright.models.convert import initial_args
from segwright.models.segmenter import IMAGENET_MEAN, IMAGENET_STD
from segwright.names import did_you_mean
from segwright.recipe import Data, Recipe, Source


def component(registry: Mapping[str, Callable[..., Any]], name: str, key: str) -> Callable[..., Any]:
    """The registry's entry. Raises UserError with the nearest name and all names."""
    if name in registry:
        return registry[name]
    hint = did_you_mean(name, registry)
    raise UserError(f"{key} is '{name}', which does not exist.{hint} There are: {', '.join(registry)}.")


def check_args(create: Callable[..., Any], args: Mapping[str, Any], key: str, *, given: tuple[str, ...]) -> None:
    """Refuse `args` that the component's signature does not have.

    key: how the user spells the mapping, such as "model.args"; given: parameters that `build` itself passes.
    """
    parameters = inspect.signature(create).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return  # the component checks its own further arguments
    allowed = [name for name in parameters if name not in given]
    for name in args:
        if name not in allowed:
            hint = did_you_mean(name, allowed)
            raise UserError(f"{key} has no '{name}'.{hint} Allowed: {', '.join(allowed) or 'nothing'}.")


def create(factory: Callable[..., Any], *positional: Any, key: str, args: Mapping[str, Any]) -> Any:
    """Call a component; a value of the wrong type becomes a UserError that names the key."""
    try:
        return factory(*positional, **{k: tuple(v) if isinstance(v, list) else v for k, v in args.items()})
    except TypeError as error:
        raise UserError(f"{key} do not suit: {error}. Given: {dict(args)}.") from error


def build_space(labels: str | Mapping[str, Any], key: str = "data.labels") -> LabelSpace:
    """A label space by name or file, or one written out in the recipe. key: how the user spells it."""
    return LabelSpace.from_dict(labels, where=key) if isinstance(labels, Mapping) else load_label_space(labels)


def model_space(recipe: Recipe) -> LabelSpace:
    """The classes that the model predicts: those of the data, unless `model.labels` names others."""
    if recipe.model.labels is not None:
        return build_space(recipe.model.labels, "model.labels")
    return build_space(recipe.data.labels)


def score_space(recipe: Recipe) -> LabelSpace:
    """The classes that validation and report score: the model's, unless `score_labels` names others."""
    return model_space(recipe) if recipe.score_labels is None else build_space(recipe.score_labels, "score_labels")


def prediction_map(model: LabelSpace, scored: LabelSpace) -> LabelMap | None:
    """How predictions are told in the scored space; None where both have the same classes."""
    return None if model.class_names == scored.class_names else map_labels(model, scored)


Opener = Callable[[Data | Source, str, LabelSpace], Dataset]
"""(section of the recipe, split, label space of its masks) -> samples."""


def build_training_set(recipe: Recipe, target: LabelSpace, opened: Opener) -> Mixture:
    """Everything that is trained on, each data set's labels told in the target space.

    Raises UserError when a data set has no class in common with it, or is multi-label.
    """
    sources: list[Data | Source] = [recipe.data, *recipe.data.also]
    keys = ["data", *(f"data.also[{number}]" for number in range(len(recipe.data.also)))]
    parts = [
        _part(title, source, source.train, f"{key}.labels", target, opened)
        for title, source, key in zip(_titles([s.name for s in sources]), sources, keys, strict=True)
    ]
    return mix(parts)


def build_scored_set(data: Data, split: str, target: LabelSpace, opened: Opener | None = None) -> Dataset:
    """One split with its labels told in the target space, for validation and evaluation.

    Raises UserError when a class of the data may be several of the target's: then nothing says which one is right.
    """
    part = _part(data.name, data, split, "data.labels", target, opened or build_dataset)
    if part.map.coarse:
        name, several = next(iter(part.map.coarse.items()))
        space = part.map.source.name
        raise UserError(
            f"split '{split}' of {data.name} is labelled in '{space}', which is coarser than '{target.name}': "
            f"'{name}' may be {' or '.join(several)}, so it cannot be scored there. Score in its own space: "
            f"score_labels={space} in a recipe, --labels {space} in `segwright evaluate`."
        )
    return mix([part]).dataset


def _part(title: str, data: Data | Source, split: str, key: str, target: LabelSpace, opened: Opener) -> Part:
    space = build_space(data.labels, key)
    if not space.exclusive:
        raise UserError(
            f"label space '{space.name}' is multi-label; only exclusive spaces are trained and scored here."
        )
    told = map_labels(space, target)
    return Part(title=title, dataset=opened(data, split, space), map=told)


def _titles(names: Sequence[str]) -> list[str]:
    """Each name once: camvid, camvid-2."""
    return [n if n not in names[:i] else f"{n}-{names[: i + 1].count(n)}" for i, n in enumerate(names)]


def build_dataset(
    data: Data | Source,
    split: str,
    space: LabelSpace,
    *,
    skipped: list[Skipped] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The reader of one split, or of one part of the recipe's split file.

    skipped: gets what `data.skip_bad` leaves out. progress: called with (done, total) while that is looked for.
    """
    factory = component(DATASETS, data.name, "data.name")
    check_args(factory, data.args, "data.args", given=("root", "split", "labels"))
    root = None if data.root is None else Path(data.root).expanduser()
    left_out = [] if skipped is None else skipped

    def open_split(name: str) -> Dataset:
        if data.skip_bad and isinstance(factory, type) and issubclass(factory, PairedFiles):
            opening = partial(open_skipping, factory)
            found, problems = create(opening, root, name, space, key="data.args", args=data.args)
            left_out.extend(problems)
            return found
        dataset: Dataset = create(factory, root, name, space, key="data.args", args=data.args)
        return dataset

    if isinstance(data, Data) and data.split_file is not None:
        dataset: Dataset = open_part(Path(data.split_file).expanduser(), split, open_split)
    else:
        dataset = open_split(split)
    if data.skip_bad:
        dataset, bad = without_bad(dataset, progress)
        left_out.extend(bad)
    return dataset


def build_segmenter(recipe: Recipe, space: LabelSpace, *, fresh: bool = True) -> Segmenter:
    """The model of the recipe with its initial weights; `fresh=False` when saved ones are loaded next (no download)."""
    if not space.exclusive:
        raise UserError(
            f"label space '{space.name}' is multi-label (a pixel may have several classes); the losses here train "
            "exclusive spaces only. Set `exclusive: true` if each pixel has one class."
        )
    component(MODELS, recipe.model.name, "model.name")
    args = initial_args(recipe.model.name, recipe.model.args, recipe.model.weights)
    architecture = build_architecture(recipe.model.name, space.num_classes, args, where="model.args", fresh=fresh)
    return Segmenter(
        architecture,
        labels=space,
        model={"name": recipe.model.name, "args": dict(recipe.model.args)},
        short_side=recipe.model.short_side,
        mean=IMAGENET_MEAN if recipe.model.mean is None else recipe.model.mean,
        std=IMAGENET_STD if recipe.model.std is None else recipe.model.std,
        licence=_licence([recipe.data.name, *(source.name for source in recipe.data.also)]),
    )


def _licence(data_sets: Sequence[str]) -> str:
    """Licence of weights trained on these data sets: all of theirs."""
    return "; ".join(dict.fromkeys(WEIGHTS_LICENCES.get(name, "not stated") for name in data_sets))


def build_augmentation(recipe: Recipe, stride: int) -> Augment:
    """The augmentation of the recipe. Raises UserError when the crop does not suit the model's stride."""
    height, width = recipe.augmentation.size
    if height % stride or width % stride:
        nearest = [max(stride, round(v / stride) * stride) for v in (height, width)]
        raise UserError(
            f"augmentation.size is {height}×{width}; {recipe.model.name} needs multiples of {stride}: "
            f"the nearest is augmentation.size=[{nearest[0]},{nearest[1]}]."
        )
    level = component(AUGMENTATIONS, recipe.augmentation.name, "augmentation.name")
    check_args(level, recipe.augmentation.args, "augmentation.args", given=("size", "short_side"))
    args = dict(recipe.augmentation.args) | {"short_side": recipe.model.short_side}
    augmentation: Augment = create(level, (height, width), key="augmentation.args", args=args)
    return augmentation


def build_loss(recipe: Recipe, space: LabelSpace, *, sets: int = 0) -> SegmentationLoss:
    """The loss of the recipe; class weights are numbers by now (see `training.weighting`).

    sets: how many labels of the training data stand for several classes. Raises UserError for a loss that cannot take
    those, and for wrong arguments.
    """
    name, args = recipe.loss.name, recipe.loss.args
    factory = component(LOSSES, name, "loss.name")
    check_args(factory, args, "loss.args", given=("num_classes",))
    if name == Combined.name:
        _check_parts(args.get("losses"))
    loss: SegmentationLoss = create(factory, space.num_classes, key="loss.args", args=args)
    if sets:
        loss.check_sets()
    return loss


def _check_parts(parts: Any) -> None:
    """The arguments of the losses of a sum; what is not even a list of mappings, `Combined` itself refuses."""
    for place, part in enumerate(parts if isinstance(parts, list | tuple) else ()):
        if isinstance(part, Mapping) and isinstance(part.get("args"), Mapping) and part.get("name") in SINGLE_LOSSES:
            key = f"loss.args.losses[{place}].args"
            check_args(SINGLE_LOSSES[part["name"]], part["args"], key, given=("num_classes",))


def pick_device(wanted: str) -> str:
    """`auto` -> cuda, mps or cpu, whichever is there first; else `wanted` itself. Raises UserError when it is missing."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        found = "cuda" if torch.cuda.is_available() else "no GPU"
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the device '{wanted}' (training.device) cannot be used: {reason}. Here: cpu, {found}. Or use auto."
        ) from None
    return wanted
