"""What a split is made of: sizes, colours, classes, and the class weights that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.opening import open_data
from segwright.api.showing import counting, new_console

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from segwright.labels import LabelSpace

SIZES = 20
"""How many picture sizes the table lists."""


@dataclass(frozen=True, kw_only=True)
class ClassStatistics:
    """One class. share: of all pixels, ignored ones included, 0..1. weights: rule -> loss weight."""

    name: str
    pixels: int
    share: float
    pictures: int
    weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class DataStatistics:
    """A split, counted at the pictures' own sizes.

    sizes: (height, width) in pixels -> pictures, the most frequent first. mean, std: of each colour over all pixels of
    all pictures, 0..1, RGB; None without pictures. ignored: pixels that count nowhere, and their share.
    """

    data: str
    root: str
    split: str
    labels: str
    pictures: int
    sizes: Mapping[tuple[int, int], int]
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    classes: tuple[ClassStatistics, ...]
    ignored: int
    ignored_share: float

    def weights(self, rule: str) -> list[float]:
        """The weights of one rule in class order: what `loss.args.class_weights` of a recipe takes."""
        return [c.weights[rule] for c in self.classes]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; sizes as "height×width"."""
        return asdict(self) | {"sizes": {f"{h}×{w}": n for (h, w), n in self.sizes.items()}}

    def table(self) -> Group:
        """What it is, the sizes, and one row a class."""
        from rich.console import Group

        return Group(*self._facts(), "", self._class_table())

    def _facts(self) -> list[str]:
        from rich.markup import escape

        lines = [f"[bold]{escape(self.root)}[/]: {self.data}, split {escape(self.split)}, label space {self.labels}"]
        lines.append(f"pictures  {self.pictures:,}")
        sizes = [f"{w}×{h} {n:,}" for (h, w), n in self.sizes.items()]
        more = f", and {len(sizes) - SIZES} more sizes" if len(sizes) > SIZES else ""
        lines.append(f"sizes     {', '.join(sizes[:SIZES])}{more}  (width×height, pictures)")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                numbers = ", ".join(f"{v:.8f}" for v in values)
                lines.append(f"{name:<9} {numbers}  (red, green, blue; all pixels at their own size; 0..1)")
        lines.append(f"ignored   {self.ignored:,} pixels, {self.ignored_share:.2%}")
        return lines

    def _class_table(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        rules = [rule for rule in (self.classes[0].weights if self.classes else ()) if rule != "none"]
        table = Table(caption="weights: class_weights rules of a recipe", caption_justify="left", caption_style="dim")
        table.add_column("class")
        for heading in ("pixels", "share", "pictures", *(rule.replace("_", " ") for rule in rules)):
            table.add_column(heading, justify="right")
        for item in self.classes:
            share = f"{item.share:.3%}" if item.pixels else "–"
            weights = [f"{item.weights[rule]:.4f}" for rule in rules]
            style = None if item.pixels else "dim"
            table.add_row(escape(item.name), f"{item.pixels:,}", share, f"{item.pictures:,}", *weights, style=style)
        return table


def data_statistics(
    root: str | Path,
    overrides: Sequence[str] = (),
    *,
    data: str | None = None,
    labels: LabelSpace | str | None = None,
    split: str = "train",
    beta: float | None = None,
    workers: int | None = None,
    console: Console | None = None,
) -> DataStatistics:
    """Count one split in a single pass: picture sizes, mean and std of the colours, pixels and pictures of each class.

    overrides: `data.args.KEY=VALUE` texts for the reader. data, labels: as for `check_data`. split: by default train,
    or `all` where there is no train. beta: of the class weights `effective`. workers: threads, one a core when None.
    Mean and std are over all pixels of the split at the pictures' own sizes, so they do not depend on any resizing.
    Raises UserError for a missing folder, unknown layout, split or space; DataError listing every unreadable file.
    """
    from segwright.data.statistics import WEIGHTINGS, class_weights, count_dataset

    found = open_data(root, data=data, labels=labels, overrides=overrides)
    if split == "train" and "train" not in found.splits and "all" in found.splits:
        split = "all"
    dataset, names = found.open(split), found.space.class_names
    with counting(console or new_console(), f"counting {split}") as progress:
        tally = count_dataset(dataset, len(names), workers=workers, progress=progress)
    void = {"ignored_pixels": tally.ignored, "ignored_image_pixels": tally.ignored_image_pixels}
    pixels_K, image_pixels_K = tally.class_pixels_K, tally.class_image_pixels_K
    weights = {rule: class_weights(pixels_K, image_pixels_K, rule, beta=beta, **void) for rule in WEIGHTINGS}
    total = max(1, int(tally.histogram_C256[0].sum()))
    red, green, blue = ([float(v) for v in pair] for pair in zip(tally.mean, tally.std, strict=True))
    return DataStatistics(
        data=found.name,
        root=str(root),
        split=split,
        labels=found.space.name,
        pictures=tally.pictures,
        sizes=dict(tally.sizes.most_common()),
        mean=(red[0], green[0], blue[0]) if tally.pictures else None,
        std=(red[1], green[1], blue[1]) if tally.pictures else None,
        classes=tuple(
            ClassStatistics(
                name=name,
                pixels=int(pixels_K[k]),
                share=int(pixels_K[k]) / total,
                pictures=int(tally.class_images_K[k]),
                weights={rule: float(weights[rule][k]) for rule in weights},
            )
            for k, name in enumerate(names)
        ),
        ignored=tally.ignored,
        ignored_share=tally.ignored / total,
    )
