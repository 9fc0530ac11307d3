"""The end of the page: recipe, environment, and what data was seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from segwright.report.wording import NONE, count, number, percent

HEXADECIMAL = re.compile(r"^(?=.*[a-f])(?=.*\d)[0-9a-f]{12,}$")
NAMES = {
    "memory_gib": "Memory, GiB",
    "gpus": "GPU",
    "cuda": "CUDA",
    "mean": "Mean colour (RGB, 0–1)",
    "std": "Standard deviation",
    "sizes": "Sizes, height × width (pictures)",
    "ignored_pixels": "Void pixels",
    "ignored_share": "Void, share of all pixels",
    "names_sha256": "SHA-256 of the names",
    "sha256": "SHA-256 of the content",
}
NOT_SHOWN = {"classes", "class_pixels", "class_image_pixels", "ignored_image_pixels"}
"""The class table shows them, or they serve class weights."""
YAML_KEY = re.compile(r"^(\s*(?:- )?)([\w.\-]+)(:)(?=\s|$)")
YAML_COMMENT = re.compile(r"(^|\s)(#.*)$")


def mark_yaml(text: str) -> Markup:
    """YAML with its keys and comments marked for the style sheet; everything is escaped, nothing added or dropped."""
    lines = []
    for line in text.rstrip("\n").split("\n"):
        comment = YAML_COMMENT.search(line)
        if comment and line[: comment.start(2)].count('"') % 2 == 0 and line[: comment.start(2)].count("'") % 2 == 0:
            body, note = line[: comment.start(2)], Markup("<i>{}</i>").format(comment[2])
        else:
            body, note = line, Markup()
        if key := YAML_KEY.match(body):
            marked = Markup("{}<b>{}</b>{}").format(key[1], key[2], body[key.end(2) :])
        else:
            marked = escape(body)
        lines.append(marked + note)
    return Markup("\n").join(lines)


@dataclass(frozen=True)
class Fact:
    """A name and a text. `code`: hashes and the like, set in a fixed-width font."""

    name: str
    text: str
    code: bool


@dataclass(frozen=True)
class FactGroup:
    """Facts under a heading ("" for none)."""

    title: str
    facts: tuple[Fact, ...]


def fact_groups(content: Mapping[str, Any]) -> list[FactGroup]:
    """Plain data as groups of facts: single values first, then one group for each nested mapping (`packages`, say)."""
    single = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    groups = [FactGroup("", tuple(_fact(spoken(key), value) for key, value in single.items()))]
    for key, value in content.items():
        if isinstance(value, Mapping):
            groups.append(FactGroup(spoken(key), tuple(_fact(name, item) for name, item in _leaves(value))))
    return [group for group in groups if group.facts]


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key} ")
        else:
            yield f"{prefix}{key}", value


def _fact(name: str, value: object) -> Fact:
    text = plain(value)
    return Fact(name, text, bool(HEXADECIMAL.match(text)))


def spoken(key: str) -> str:
    """A key of our JSON files as a heading."""
    return NAMES.get(key) or key.replace("_", " ").capitalize()


def plain(value: object) -> str:
    """A JSON value for people: lists joined, None and empty lists as "–"."""
    if value is None or value == [] or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return number(value, 4) if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class ClassCount:
    """Pixels, share of labelled pixels, and pictures of one class in one split, as texts."""

    pixels: str
    share: str
    images: str


@dataclass(frozen=True)
class DataTable:
    """Fingerprints side by side: facts and class counts, one entry a split, in the order of `splits`."""

    splits: tuple[str, ...]
    facts: tuple[tuple[str, tuple[Fact, ...]], ...]
    classes: tuple[tuple[str, tuple[ClassCount, ...]], ...]


def data_table(data: Mapping[str, Any]) -> DataTable | None:
    """Fingerprints as data.statistics.fingerprint() makes them, by split name, or a single one; None without any."""
    if not data:
        return None
    nested = all(isinstance(value, Mapping) for value in data.values())
    splits: dict[str, Mapping[str, Any]] = dict(data) if nested else {"data": data}
    keys = list(dict.fromkeys(key for split in splits.values() for key in split if key not in NOT_SHOWN))
    names = list(dict.fromkeys(name for split in splits.values() for name in split.get("classes", {})))
    return DataTable(
        tuple(splits),
        tuple(
            (spoken(key), tuple(_fact(key, _told(key, split.get(key))) for split in splits.values())) for key in keys
        ),
        tuple(
            (name, tuple(_class_count(split.get("classes", {}), name) for split in splits.values())) for name in names
        ),
    )


def _told(key: str, value: object) -> object:
    if key == "sizes" and isinstance(value, Mapping):
        return [f"{size} ({count(n)})" for size, n in value.items()]
    if key.endswith("_share") and isinstance(value, float):
        return percent(value, 2)
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _class_count(classes: Mapping[str, Mapping[str, int]], name: str) -> ClassCount:
    if name not in classes:
        return ClassCount(NONE, NONE, NONE)
    total = sum(item["pixels"] for item in classes.values())
    pixels = classes[name]["pixels"]
    return ClassCount(count(pixels), percent(pixels / total if total else None, 2), count(classes[name]["images"]))
