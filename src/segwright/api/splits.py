"""Dividing a data set into parts of one's own, kept in a split file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.opening import OnDisk, open_data
from segwright.api.showing import counting, new_console
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from segwright.data.splits import Plan, SplitFile
    from segwright.labels import LabelSpace


@dataclass(frozen=True, kw_only=True)
class SplitResult:
    """Parts of a data set. path: the split file. parts: what it holds.

    class_pixels: part -> class name -> pixels; class_pictures: the same with pictures that show it; None when the masks
    were not read. straddling: groups with pictures in more than one part; None where no two pictures share a group.
    """

    path: Path
    parts: SplitFile
    class_pixels: Mapping[str, Mapping[str, int]] | None
    class_pictures: Mapping[str, Mapping[str, int]] | None
    straddling: tuple[str, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the names of the pictures."""
        return {
            "path": str(self.path),
            "method": self.parts.method,
            "seed": self.parts.seed,
            "pictures": {part: len(names) for part, names in self.parts.splits.items()},
            "unused": len(self.parts.unused),
            "class_pixels": self.class_pixels,
            "class_pictures": self.class_pictures,
            "straddling": self.straddling,
        }

    def table(self) -> Group:
        """Pictures of each part, the share of each class in its pixels, and groups that are in more than one part."""
        from rich.console import Group
        from rich.markup import escape

        if self.straddling is None:
            groups = "no groups are known: every picture counts as a group of its own"
        else:
            groups = f"groups in more than one part: {', '.join(self.straddling[:10]) or 'none'}"
            groups += f" and {len(self.straddling) - 10} more" if len(self.straddling) > 10 else ""
            if self.straddling:
                groups += ". Their pictures resemble each other, so scores will look too good: --method group"
        return Group(self._table(), escape(groups))

    def _table(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        sizes = {part: len(names) for part, names in self.parts.splits.items()}
        whole = sum(sizes.values()) + len(self.parts.unused)
        title = f"{self.parts.data} {'+'.join(self.parts.source_splits)}, {self.parts.method}, seed {self.parts.seed}"
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column("")
        for part in sizes:
            table.add_column(escape(part), justify="right")
        table.add_row("pictures", *(f"{n:,} ({n / whole:.1%})" for n in sizes.values()))
        if self.parts.unused:
            table.add_row("unused", f"{len(self.parts.unused):,}")
        if self.class_pixels is None or self.class_pictures is None:
            return table
        table.add_section()
        totals = {part: max(1, sum(pixels.values())) for part, pixels in self.class_pixels.items()}
        for name in next(iter(self.class_pixels.values())):
            cells = [
                f"{self.class_pixels[part][name] / totals[part]:.2%} in {self.class_pictures[part][name]:,}"
                if self.class_pictures[part][name]
                else "–"
                for part in sizes
            ]
            table.add_row(escape(name), *cells)
        table.caption = "classes: share of labelled pixels, in how many pictures"
        table.caption_style, table.caption_justify = "dim", "left"
        return table


def split_data(
    root: str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path = "splits.json",
    data: str | None = None,
    labels: LabelSpace | str | None = None,
    splits: Sequence[str] | None = None,
    preset: str | None = None,
    plan: Plan | None = None,
    classes: bool = True,
    workers: int | None = None,
    console: Console | None = None,
) -> SplitResult:
    """Divide a data set and write the split file, which a recipe takes as `data.split_file`.

    overrides: `data.args.KEY=VALUE` texts for the reader. data, labels: as for `check_data`. splits: those of the data
    set to divide, together; by default all pictures that it does not keep apart as val or test. plan: how
    (`data.splits.Plan`: method, fractions, folds, groups, share, seed); four fifths and one fifth by chance when None.
    preset: a name from `data.splits.PRESETS`, in place of `splits` and `plan`. classes: read the masks for the table of
    classes; methods that look at classes do so anyway.
    Raises UserError for unknown names, and for fractions, folds or groups that do not suit; DataError for bad files.
    """
    import numpy as np

    from segwright.data.splits import Joined, Plan, make_splits, write_splits
    from segwright.data.statistics import count_classes

    found = open_data(root, data=data, labels=labels, overrides=overrides)
    plan = plan or Plan()
    chosen = tuple(splits or _whole(found))
    if preset is not None:
        chosen, plan = _preset(preset, found, splits, plan)
    joined = Joined({split: found.open(split) for split in chosen})
    pixels_NK = None
    if classes or plan.needs_classes:
        counts = []
        for split, dataset in zip(chosen, joined.sources, strict=True):
            with counting(console or new_console(), f"reading masks of {split}") as progress:
                counts.append(count_classes(dataset, found.space.num_classes, workers=workers, progress=progress))
        pixels_NK = np.concatenate(counts)
    made = make_splits(joined, found.name, plan, None if pixels_NK is None else pixels_NK > 0)
    path = write_splits(Path(out), made)
    rows = {name: i for i, name in enumerate(joined.names)}
    by_part = {part: [rows[n] for n in names] for part, names in made.splits.items()}

    def told(counts_NK: Any) -> dict[str, dict[str, int]]:
        names = found.space.class_names
        return {part: dict(zip(names, counts_NK[at].sum(0).tolist(), strict=True)) for part, at in by_part.items()}

    return SplitResult(
        path=path,
        parts=made,
        class_pixels=None if pixels_NK is None else told(pixels_NK),
        class_pictures=None if pixels_NK is None else told(pixels_NK > 0),
        straddling=made.straddling(joined) if len(set(joined.groups)) < len(joined) else None,
    )


def _whole(found: OnDisk) -> tuple[str, ...]:
    """What to divide when nobody says: all pictures that the data set does not itself keep apart as val or test."""
    from segwright.data.list_file import is_divided
    from segwright.data.paired_folders import find_layout

    if found.name == "paired_folders":
        folders = find_layout(found.root).folders
        return ("all",) if "all" in folders else ("train",) if "val" in folders else ("train", "val")
    if found.name == "list_file" and is_divided(found.root):
        return ("train",)
    if not found.splits:
        raise UserError(f"{found.root}: data set '{found.name}' has no split here that could be divided.")
    return next((split,) for split in ("all", "train_val", "train", *found.splits) if split in found.splits)


def _preset(name: str, found: OnDisk, splits: Sequence[str] | None, plan: Plan) -> tuple[tuple[str, ...], Plan]:
    from dataclasses import replace

    from segwright.data.splits import PRESETS, Plan
    from segwright.names import did_you_mean

    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}'.{did_you_mean(name, PRESETS)} There are: {', '.join(PRESETS)}.")
    preset = PRESETS[name]
    if found.name != preset.data:
        raise UserError(f"preset '{name}' divides {preset.data}, but {found.root} holds {found.name}.")
    if splits or replace(plan, seed=0) != Plan():
        raise UserError(f"preset '{name}' says itself what is divided and how; only the seed may stand beside it.")
    return preset.splits, replace(preset.plan, seed=plan.seed)
