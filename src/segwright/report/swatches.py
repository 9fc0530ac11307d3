"""Label spaces and maps as terminal tables, each class with a block of its colour, and a map's verdict in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from segwright.labels import LabelClass, LabelMap, LabelSpace
from segwright.report.colors import to_hex
from segwright.report.wording import NONE, listing


def swatch(color: Sequence[int]) -> Text:
    """Three columns of the colour. Where the output has no colours, they are blanks: tables print the hex code too."""
    return Text().append("   ", style=f"on {to_hex(color)}")


def spaces_table(spaces: Sequence[LabelSpace]) -> Table:
    """One row a space."""
    table = Table("name", "classes", "masks hold", "title")
    for space in spaces:
        holds = "colours" if space.encoding == "rgb" else "numbers"
        table.add_row(
            space.name, str(space.num_classes), holds if space.exclusive else f"{holds}, multi-label", space.title
        )
    return table


def space_table(space: LabelSpace) -> Table:
    """One row a class: id, colour, name, group, raw mask values, other names; then the labels that count nowhere."""
    table = Table("id", "colour", "class", "group", "mask values", "other names", title=escape(space.title))
    for index, item in enumerate(space.classes):
        table.add_row(str(index), *_cells(item, space))
    if space.ignored:
        table.add_section()
    for item in space.ignored:
        table.add_row("void" if space.exclusive else "none", *_cells(item, space))
    return table


def _cells(item: LabelClass, space: LabelSpace) -> tuple[str | Text, ...]:
    values = [f"#{v:06x}" if space.encoding == "rgb" else str(v) for v in item.values]
    color = swatch(item.color).append(f" {to_hex(item.color)}")
    return color, escape(item.name), escape(item.group), ", ".join(values), escape(", ".join(item.aliases))


def map_table(label_map: LabelMap) -> Table:
    """One row a source class: what it becomes, and how that was found."""
    colors = {c.name: c.color for c in label_map.target.classes}
    table = Table(escape(label_map.source.name), escape(label_map.target.name), "found by")
    for item in label_map.source.classes:
        found = label_map.rows[item.name]
        becomes = Text(", ").join(_named(name, colors[name]) for name in found)
        nothing = Text(f"{NONE} {_nothing(label_map)}", "dim")
        table.add_row(_named(item.name, item.color), becomes if found else nothing, label_map.how[item.name])
    return table


def _nothing(label_map: LabelMap) -> str:
    """What a pixel without a class is called in the target."""
    return "void" if label_map.target.exclusive else "no class"


def _named(name: str, color: Sequence[int]) -> Text:
    return swatch(color).append(f" {name}")


def map_sentences(label_map: LabelMap) -> list[str]:
    """What the map merges, cannot decide, ignores, loses and does not reach, and the verdict last."""
    source, target = f"'{label_map.source.name}'", f"'{label_map.target.name}'"
    lost = [name for name in label_map.lost if label_map.how[name] == "lost"]
    ignored = [name for name in label_map.lost if label_map.how[name] != "lost"]
    nothing = _nothing(label_map)
    lines = [
        *_several(f"merged in {target}", label_map.merged, ", "),
        *_several(f"coarser than {target}", label_map.coarse, " or "),
    ]
    for what, names in (
        (f"{nothing} by decision", ignored),
        (f"without counterpart in {target}, so {nothing}", lost),
        (f"classes of {target} that nothing becomes", label_map.unreached),
    ):
        if names:
            lines.append(f"{what}: {listing(names)}")
    if label_map.exact and label_map.total:
        return [*lines, f"exact and total: every class of {source} is one class of {target}."]
    exact = (
        "exact: every class that is kept is one class"
        if label_map.exact
        else "not exact: for training, not for scoring"
    )
    gone = f"{len(label_map.lost)} of {label_map.source.num_classes} classes are lost"
    return [*lines, f"{exact}; {'total: no class is lost' if label_map.total else f'not total: {gone}'}."]


def _several(what: str, rows: Mapping[str, tuple[str, ...]], between: str) -> list[str]:
    return [f"{what}: " + "; ".join(f"{name} = {between.join(found)}" for name, found in rows.items())] if rows else []
