"""Labelled pictures of a data set on one sheet, as they are and as the augmentation makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.showing import counting, new_console
from segwright.contracts import DataError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.contracts import Dataset
    from segwright.data.augment import Augment
    from segwright.labels import LabelSpace
    from segwright.report.contact_sheet import Cell

COLUMNS = 4
"""Augmented pictures in a row."""
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}
"""Ending of the sheet -> Pillow's name."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A written sheet. problems: what `verify` found, one sentence each; empty when picture and mask move together."""

    path: Path
    title: str
    problems: tuple[str, ...] = ()


def show_data(
    root: str | Path | None,
    out: str | Path = "sheet.png",
    *,
    data: str | None = None,
    labels: LabelSpace | str | None = None,
    split: str = "train",
    recipe: str | Path | None = None,
    level: str = "standard",
    args: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
    count: int = 16,
    seed: int = 0,
    plain: bool = False,
    verify: bool = False,
    console: Console | None = None,
) -> Shown:
    """Draw a contact sheet: the overlay of each chosen picture, then augmented ones, and a legend of the classes.

    data, labels: as for `check_data`. recipe: a shipped recipe or file, which then says data, labels, size and
    augmentation; `root`, when given, replaces its folder. level: name of the augmentation, without a recipe. args: its
    arguments, such as {"mosaic_p": 1.0}. size: (height, width) of the crops, that of the first picture by default.
    count: augmented pictures, four in a row (originals, with `plain`). seed: another one shows other pictures.
    plain: without augmentation. verify: also put probe pictures through the augmentation (`data.augment.truth`).
    Raises UserError for unknown names and wrong arguments, DataError for bad files.
    """
    from segwright.data.augment.truth import check_pipeline
    from segwright.report.contact_sheet import contact_sheet

    console = console or new_console()
    if Path(out).suffix.lower() not in FORMATS:
        raise UserError(f"the sheet cannot be written to {out}: give a file that ends in .png, .jpg or .webp.")
    if count < 1:
        raise UserError(f"count is {count}; ask for at least one picture.")
    if recipe is not None:
        dataset, space, augmentation, title = _of_recipe(recipe, root, split, args or {})
    elif root is not None:
        dataset, space, augmentation, title = _of_folder(Path(root), data, labels, split, level, args or {}, size)
    else:
        raise UserError("what to show is missing: a folder, or a recipe that names one (--recipe).")
    if not len(dataset):
        raise DataError(f"split '{split}' of {root} is empty: choose another split, or add pictures.")
    rows = _originals(dataset, count, seed) if plain else _augmented(dataset, augmentation, count, seed, console)
    title = f"{title} · {split}" if plain else f"{title} · {split} · {augmentation.size[0]}x{augmentation.size[1]}"
    path = _save(contact_sheet(rows, space, title=f"{title} · seed {seed}"), Path(out))
    problems = check_pipeline(augmentation) if verify else []
    return Shown(path=path, title=title, problems=tuple(problems))


def _of_recipe(
    name: str | Path, root: str | Path | None, split: str, args: Mapping[str, Any]
) -> tuple[Dataset, LabelSpace, Augment, str]:
    from segwright.build import build_augmentation, build_dataset, build_space
    from segwright.recipe import load_recipe
    from segwright.recipe.loading import check

    loaded = load_recipe(name, [] if root is None else [f"data.root={root}"])
    content = loaded.recipe.model_dump()
    content["augmentation"]["args"] |= args
    recipe = check(content)
    space = build_space(recipe.data.labels)
    dataset = build_dataset(recipe.data, split, space)
    return dataset, space, build_augmentation(recipe, 1), f"{recipe.name} · {recipe.augmentation.name}"


def _of_folder(
    root: Path,
    data: str | None,
    labels: LabelSpace | str | None,
    split: str,
    level: str,
    args: Mapping[str, Any],
    size: tuple[int, int] | None,
) -> tuple[Dataset, LabelSpace, Augment, str]:
    from segwright.build import check_args, component, create
    from segwright.data.augment import AUGMENTATIONS
    from segwright.data.check.examine import find_source
    from segwright.data.inspect import inspect_folder

    source = find_source(root, name=data, labels=labels)
    space = source.space or inspect_folder(root).labels
    dataset = source.reader(root, split, space)
    factory = component(AUGMENTATIONS, level, "the level")
    check_args(factory, args, f"level {level}", given=("size",))
    shape = size or (dataset[0].rgb.shape[:2] if len(dataset) else (1, 1))
    return dataset, space, create(factory, shape, key=f"arguments of {level}", args=args), f"{source.name} · {level}"


def _originals(dataset: Dataset, count: int, seed: int) -> list[list[Cell]]:
    cells = [_cell(dataset, index) for index in _chosen(dataset, count, seed)]
    return [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]


def _augmented(dataset: Dataset, augmentation: Augment, count: int, seed: int, console: Console) -> list[list[Cell]]:
    """Rows of an original and COLUMNS augmented pictures each."""
    from segwright.data.assembling import DatasetPool
    from segwright.data.augment import sample_rng
    from segwright.report.contact_sheet import Cell

    pool = DatasetPool(dataset)
    if augmentation.needs_classes:
        with counting(console, "counting classes") as progress:
            pool.class_index(progress)
    chosen = _chosen(dataset, -(-count // COLUMNS), seed)
    rows = []
    for start in range(0, count, COLUMNS):
        index = chosen[start // COLUMNS % len(chosen)]
        row = [_cell(dataset, index)]
        for epoch in range(start, min(start + COLUMNS, count)):
            image, labels = augmentation(dataset[index], sample_rng(seed, epoch, index), pool)
            row.append(Cell(image=image, labels=labels, caption=f"epoch {epoch}"))
        rows.append(row)
    return rows


def _chosen(dataset: Dataset, count: int, seed: int) -> list[int]:
    """Up to `count` indices, drawn with `seed`, ascending."""
    import numpy as np

    drawn = np.random.default_rng(seed).choice(len(dataset), min(count, len(dataset)), replace=False)
    return sorted(int(i) for i in drawn)


def _cell(dataset: Dataset, index: int) -> Cell:
    from segwright.data.augment.partners import labels_of
    from segwright.report.contact_sheet import Cell

    sample = dataset[index]
    return Cell(image=sample.rgb, labels=labels_of(sample), caption=sample.name)


def _save(sheet: Any, path: Path) -> Path:
    from PIL import Image

    from segwright.files import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(sheet).save(temporary, FORMATS[path.suffix.lower()])
    return path
