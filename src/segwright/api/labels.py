"""Label spaces and the maps between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segwright.labels import LabelMap, LabelSpace


def list_labels() -> list[LabelSpace]:
    """The label spaces that ship with Segwright, by name."""
    from segwright.labels import catalogue, load_label_space

    return [load_label_space(name) for name in catalogue()]


def label_space(name: str | Path) -> LabelSpace:
    """A shipped label space by name (`camvid11`), or one from a .yaml file.

    Raises UserError with the nearest name and all names, or with the file's fault.
    """
    from segwright.labels import load_label_space

    return load_label_space(str(name))


def map_labels(
    source: str | Path | LabelSpace,
    target: str | Path | LabelSpace,
    overrides: Mapping[str, str | Sequence[str] | None] | None = None,
) -> LabelMap:
    """What each class of one label space is in another: shipped names, .yaml files or LabelSpace objects.

    overrides: source class -> target class, several (it may be any of these), or None (ignored); they win over names.
    Raises UserError for unknown names, and when no class has a counterpart.
    """
    from segwright.labels import LabelSpace
    from segwright.labels import map_labels as match

    one, other = (space if isinstance(space, LabelSpace) else label_space(space) for space in (source, target))
    return match(one, other, overrides)
