"""The data set `streets`: generated on demand, or read from a folder that `write_streets` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from segwright.contracts import Dataset, UserError
from segwright.data.cityscapes import Cityscapes
from segwright.data.pairs import need_split
from segwright.labels import LabelSpace, load_label_space

COUNTS: Mapping[str, int] = MappingProxyType({"train": 480, "val": 80})
"""Scenes a split, when the recipe says nothing."""


def open_streets(
    root: Path | None,
    split: str,
    labels: LabelSpace,
    *,
    count: Mapping[str, int] = COUNTS,
    size: Sequence[int] = (256, 512),
    seed: int = 0,
) -> Dataset:
    """One split of the street scenes.

    root: None to generate them, else a folder in Cityscapes layout, which `count`, `size` and `seed` then do not touch.
    labels: a space with the 19 Cityscapes train classes.
    count: split name -> number of scenes; size: (height, width) in pixels; seed: another seed, other scenes.
    Raises UserError for an unknown split, another label space, and sizes or counts that `Streets` refuses.
    """
    if root is not None:
        return Cityscapes(root, split, labels)
    expected = load_label_space("cityscapes19").class_names
    if labels.class_names != expected:
        raise UserError(
            f"data set 'streets' has the 19 Cityscapes train classes, but label space '{labels.name}' has "
            f"{labels.num_classes} classes ({', '.join(labels.class_names[:4])}, …). Set data.labels=cityscapes19."
        )
    if len(size) != 2:
        raise UserError(f"size is {list(size)}; streets need height and width in pixels, such as [256, 512].")
    need_split(split, count, Path("data.args.count"))
    from segwright.data.streets import Streets  # only here: other data sets do without the scene generator

    return Streets(split, count=count[split], size=(int(size[0]), int(size[1])), seed=seed)
