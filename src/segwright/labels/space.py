"""A label space: which classes exist, their colours and groups, and what every raw mask value means.

One table, `raw value -> class | ignore | error`, applied once when a mask is read. There is no `reduce_zero_label`
switch and no second place where ids are shifted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, UserError
from segwright.labels.causes import likely_cause, looks_grey
from segwright.names import did_you_mean

RGB = tuple[int, int, int]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C six times faster, where PyYAML was built with it
MAX_CLASSES = 250  # ids are uint8 and 255 is IGNORE
UNLISTED = 254  # in tables of bytes: a value that the space does not know


def pack_rgb(color: Sequence[int]) -> int:
    """One integer for a colour: 0xRRGGBB."""
    return (color[0] << 16) | (color[1] << 8) | color[2]


def look_up(values: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """table[values], several times faster than indexing and without holding Python's lock. table: uint8 [256]."""
    import cv2

    return np.asarray(cv2.LUT(values, table), np.uint8) if values.size else values.copy()


@dataclass(frozen=True, kw_only=True)
class LabelClass:
    """One class (or one ignored label): its raw mask values, display colour, group and other names.

    values: raw pixel values in the mask file, 0..65535; for `encoding: rgb`, packed 0xRRGGBB.
    """

    name: str
    values: tuple[int, ...]
    color: RGB
    group: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """Classes in order (their index is the id that models predict), and what to do with every raw mask value.

    encoding: `index` when masks hold one number a pixel, `rgb` when they hold colours.
    ignored: raw values that count nowhere, with a name for reports.
    other: what an unlisted raw value means, `error` (the default) or `ignore`.
    exclusive: True when a pixel has exactly one class; False for multi-label spaces (bool [K, H, W] labels).
    """

    name: str
    title: str
    classes: tuple[LabelClass, ...]
    ignored: tuple[LabelClass, ...] = ()
    encoding: Literal["index", "rgb"] = "index"
    other: Literal["error", "ignore"] = "error"
    exclusive: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Group name -> class ids, in the order of first appearance; classes without a group are left out."""
        found: dict[str, list[int]] = {}
        for index, item in enumerate(self.classes):
            if item.group:
                found.setdefault(item.group, []).append(index)
        return {name: tuple(ids) for name, ids in found.items()}

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """uint8 [256, 3]: the display colour of each id; IGNORE and unused ids are black."""
        table = np.zeros((256, 3), np.uint8)
        for index, item in enumerate(self.classes):
            table[index] = item.color
        return table

    @property
    def _colors(self) -> list[RGB]:
        return [item.color for item in (*self.classes, *self.ignored)]

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        """int16 [65536]: class id, IGNORE, or -1 (error), of each raw value of an exclusive `index` space."""
        table = np.full(65536, IGNORE if self.other == "ignore" else -1, np.int16)
        for item in self.ignored:
            table[list(item.values)] = IGNORE
        for index, item in enumerate(self.classes):
            table[list(item.values)] = index
        return table

    @cached_property
    def _byte_table(self) -> NDArray[np.uint8]:
        """uint8 [256]: class id, IGNORE, or UNLISTED, of each raw value that fits a byte."""
        table = self._table[:256]
        return np.where(table < 0, UNLISTED, table).astype(np.uint8)

    def encode(self, raw: NDArray[Any], *, source: Path | str) -> NDArray[Any]:
        """Raw mask values -> labels, each value by the table of this space.

        raw: an integer [H, W] array for `encoding: index`, uint8 [H, W, 3] in RGB order for `encoding: rgb`.
        Returns uint8 [H, W] with ids 0..K-1 or IGNORE; bool [K, H, W] for a multi-label space.
        Raises DataError naming `source`, the values found with their pixel counts, and the likely cause.
        """
        if self.encoding == "index":
            if raw.ndim != 2:
                raise DataError(
                    f"{source}: the mask has {raw.shape[2]} channels (colours), but label space '{self.name}' expects one class "
                    "number a pixel. Save the mask as a one-channel or palette PNG, or use a label space with `encoding: rgb` "
                    "that lists the colour of each class."
                )
            if self.exclusive and raw.dtype in (np.uint8, np.uint16):
                if raw.dtype == np.uint8:
                    labels = look_up(raw, self._byte_table)
                    if not (labels == UNLISTED).any():
                        return labels
                ids = self._table[raw]
                if ids.min(initial=0) < 0:
                    self._refuse(raw[ids < 0], raw, source)
                return ids.astype(np.uint8)
            keys = raw.astype(np.int64)
        else:
            if raw.ndim != 3 or raw.shape[2] != 3:
                grey = raw.ndim == 2 and looks_grey(np.unique(raw).tolist(), self._colors)
                turned = " The numbers are the greys of its colours: the masks were turned into grey." if grey else ""
                raise DataError(
                    f"{source}: the mask has one number a pixel, but label space '{self.name}' expects RGB colours.{turned} "
                    "Choose the label space for this form of the masks (`data.labels=...`)."
                )
            if self.exclusive and (found := self._encode_colors(raw)) is not None:
                return found
            red, green, blue = (raw[..., i].astype(np.int64) for i in range(3))
            keys = (red << 16) | (green << 8) | blue
        return self._encode_values(keys, source)

    def _encode_colors(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Ids of colours by binary search, some rows at a time to save memory; None when one of them is not listed."""
        entries = [*enumerate(self.classes), *((IGNORE, item) for item in self.ignored)]
        listed = sorted((value, k) for k, item in entries for value in item.values)
        values, ids = (np.array(column) for column in zip(*listed, strict=True))
        labels = np.empty(raw.shape[:2], np.uint8)
        for top in range(0, len(raw), 256):
            red, green, blue = (raw[top : top + 256, :, i].astype(np.int64) for i in range(3))
            keys = (red << 16) | (green << 8) | blue
            place = np.searchsorted(values, keys).clip(max=len(values) - 1)
            unknown = values[place] != keys
            if self.other == "error" and unknown.any():
                return None
            labels[top : top + 256] = np.where(unknown, IGNORE, ids[place])
        return labels

    def _encode_values(self, keys: NDArray[np.int64], source: Path | str) -> NDArray[Any]:
        values, inverse = np.unique(keys, return_inverse=True)
        inverse = inverse.reshape(keys.shape)
        ignored = {v for item in self.ignored for v in item.values}
        members = {v for item in self.classes for v in item.values}
        unknown = [v for v in values.tolist() if v not in members and v not in ignored]
        if unknown and self.other == "error":
            self._refuse(keys[np.isin(keys, unknown)], keys, source)
        if not self.exclusive:
            rows = np.array([[v in item.values for v in values.tolist()] for item in self.classes], bool)
            return rows[:, inverse]
        by_value = {v: index for index, item in enumerate(self.classes) for v in item.values}
        return np.array([by_value.get(v, IGNORE) for v in values.tolist()], np.uint8)[inverse]

    def _refuse(self, unknown: NDArray[Any], raw: NDArray[Any], source: Path | str) -> None:
        values, counts = np.unique(unknown, return_counts=True)
        order = np.argsort(-counts)[:8]
        listed = ", ".join(f"{self._show(values[i])} ({counts[i]} px)" for i in order)
        more = f" and {len(values) - 8} more" if len(values) > 8 else ""
        allowed = sorted({v for item in (*self.classes, *self.ignored) for v in item.values})
        shown = ", ".join(self._show(v) for v in allowed[:24]) + (", …" if len(allowed) > 24 else "")
        cause = likely_cause(
            np.unique(raw).tolist(),
            self.num_classes,
            allowed,
            self.encoding,
            ignored={v for item in self.ignored for v in item.values},
            colors=self._colors,
        )
        raise DataError(
            f"{source}: found mask values that label space '{self.name}' does not list: {listed}{more}. Allowed: {shown}. {cause}"
        )

    def _show(self, value: int) -> str:
        return str(int(value)) if self.encoding == "index" else f"#{int(value):06x}"

    def decode(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class ids -> the first raw value of each class (Cityscapes' label ids, say); IGNORE -> first ignored value, else 255."""
        if self.encoding != "index":
            raise UserError(f"label space '{self.name}' codes masks by colour: use colorize() instead of decode().")
        table = np.full(256, self.ignored[0].values[0] if self.ignored else IGNORE, np.uint8)
        for index, item in enumerate(self.classes):
            table[index] = item.values[0]
        return table[ids]

    def colorize(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W] class ids -> uint8 [H, W, 3] in the space's colours; IGNORE is black."""
        return self.palette.take(ids, axis=0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` turns back into an equal space: what weights files and runs carry."""
        rgb = self.encoding == "rgb"

        def item(c: LabelClass) -> dict[str, Any]:
            values = [[v >> 16, v >> 8 & 255, v & 255] for v in c.values] if rgb else list(c.values)
            out: dict[str, Any] = {"name": c.name, "values": values, "color": list(c.color)}
            return out | ({"group": c.group} if c.group else {}) | ({"aliases": list(c.aliases)} if c.aliases else {})

        return {
            "name": self.name,
            "title": self.title,
            "encoding": self.encoding,
            "other": self.other,
            "exclusive": self.exclusive,
            "source": self.source,
            "classes": [item(c) for c in self.classes],
            "ignored": [item(c) for c in self.ignored],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, where: str = "label space") -> LabelSpace:
        """A space from plain data (YAML or JSON). Raises UserError naming `where` and the wrong key or value."""
        allowed = {"name", "title", "encoding", "other", "exclusive", "source", "classes", "ignored"}
        if unknown := sorted(set(content) - allowed):
            raise UserError(f"{where}: unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}.")
        if not isinstance(content.get("name"), str) or not content.get("classes"):
            raise UserError(f"{where}: a label space needs a `name` and a non-empty list of `classes`.")
        rgb = content.get("encoding", "index") == "rgb"
        for key, choices in (
            ("encoding", ("index", "rgb")),
            ("other", ("error", "ignore")),
            ("exclusive", (True, False)),
        ):
            if content.get(key, choices[0]) not in choices:
                raise UserError(f"{where}: {key} is {content[key]!r}; allowed are {' or '.join(map(str, choices))}.")
        return cls(
            name=content["name"],
            title=str(content.get("title", content["name"])),
            encoding="rgb" if rgb else "index",
            other="ignore" if content.get("other") == "ignore" else "error",
            exclusive=bool(content.get("exclusive", True)),
            source=str(content.get("source", "")),
            classes=tuple(_read_class(c, rgb, f"{where}, classes[{i}]") for i, c in enumerate(content["classes"])),
            ignored=tuple(
                _read_class(c, rgb, f"{where}, ignored[{i}]") for i, c in enumerate(content.get("ignored") or ())
            ),
        )


def _read_class(content: Any, rgb: bool, where: str) -> LabelClass:
    if not isinstance(content, Mapping) or not isinstance(content.get("name"), str) or "values" not in content:
        raise UserError(f"{where}: expected a mapping with `name`, `values` and `color`, found {content!r}.")
    if unknown := sorted(set(content) - {"name", "values", "color", "group", "aliases"}):
        raise UserError(f"{where}: unknown key {unknown[0]!r}; allowed are name, values, color, group, aliases.")
    color = content.get("color", [0, 0, 0])
    values = content["values"]
    colors = [color, *values] if rgb and isinstance(values, list) else [color]
    if any(not isinstance(c, list | tuple) or len(c) != 3 or any(not 0 <= int(v) <= 255 for v in c) for c in colors):
        raise UserError(f"{where}: a colour is three numbers 0..255, such as [128, 64, 128]; found {colors!r}.")
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: `values` is a list of raw mask values; found {values!r}.")
    packed = tuple(pack_rgb(v) for v in values) if rgb else tuple(int(v) for v in values)
    return LabelClass(
        name=content["name"],
        values=packed,
        color=(int(color[0]), int(color[1]), int(color[2])),
        group=str(content.get("group", "")),
        aliases=tuple(content.get("aliases", ())),
    )


def _check(space: LabelSpace) -> None:
    where = f"label space '{space.name}'"
    if not 1 <= space.num_classes <= MAX_CLASSES:
        raise UserError(f"{where} has {space.num_classes} classes; allowed are 1..{MAX_CLASSES}.")
    names = [n for c in space.classes for n in (c.name, *c.aliases)]
    if twice := {n for n in names if names.count(n) > 1}:
        raise UserError(f"{where} uses the name {sorted(twice)[0]!r} for two classes.")
    listed = [*space.classes, *space.ignored] if space.exclusive else list(space.ignored)
    values = [v for c in listed for v in c.values]
    if again := {v for v in values if values.count(v) > 1}:
        raise UserError(
            f"{where} gives the raw value {sorted(again)[0]} two meanings; each value is one class or ignored."
        )
    limit = 0xFFFFFF if space.encoding == "rgb" else 65535
    if wrong := [v for v in values if not 0 <= v <= limit]:
        raise UserError(f"{where} lists the raw value {wrong[0]}; allowed are 0..{limit}.")


def catalogue() -> tuple[str, ...]:
    """Names of the label spaces that ship with Segwright."""
    folder = resources.files("segwright.labels") / "catalogue"
    return tuple(sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")))


def load_label_space(name: str) -> LabelSpace:
    """A shipped space by name (`camvid11`), or one from a YAML file of the user's."""
    if name in catalogue():
        text = (resources.files("segwright.labels") / "catalogue" / f"{name}.yaml").read_text(encoding="utf-8")
        return LabelSpace.from_dict(yaml.load(text, Loader=_LOADER), where=f"label space '{name}'")
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"label space file {path} does not exist.")
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not readable YAML: {error}") from error
        if not isinstance(content, Mapping):
            raise UserError(f"{path}: expected a mapping with `name` and `classes`, found {type(content).__name__}.")
        return LabelSpace.from_dict(content, where=str(path))
    hint = did_you_mean(name, catalogue())
    raise UserError(f"unknown label space '{name}'.{hint} Shipped: {', '.join(catalogue())}; or give a .yaml file.")
