"""The end of the page: recipe, environment, and what data was seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from segwright.report.wording import NONE, THIN, count, number, percent

HEXADECIMAL = re.compile(r"^(?=.*[a-f])(?=.*\d)[0-9a-f]{12,}$")
NAMES = {
    "memory_gib": "Memory, GiB",
    "gpus": "GPU",
    "cuda": "CUDA",
    "std": "Standard deviation",
    "sha256": "SHA-256",
    "ignore_share": "Void, share of pixels",
}
YAML_KEY = re.compile(r"^(\s*(?:- )?)([\w.\-]+)(:)(?=\s|$)")
YAML_COMMENT = re.compile(r"(^|\s)(#.*)$")


def mark_yaml(text: str) -> Markup:
    """YAML with its keys and comments marked for the style sheet. Everything is escaped; nothing is added or dropped."""
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
    name: str
    pixels: str
    share: str
    images: str


@dataclass(frozen=True)
class DataPart:
    """One fingerprint: short facts, then how many pictures have each size, then the classes."""

    title: str
    groups: tuple[FactGroup, ...]
    sizes: tuple[tuple[str, str], ...]
    classes: tuple[ClassCount, ...]


def data_parts(data: Mapping[str, Any]) -> list[DataPart]:
    """The content of data.json for the page: one part, or one a split when fingerprints are nested under split names."""
    if not data:
        return []
    splits = {name: value for name, value in data.items() if isinstance(value, Mapping) and "pictures" in value}
    if not splits:
        return [_data_part("Data", data)]
    rest = {name: value for name, value in data.items() if name not in splits}
    parts = [_data_part(f"Data: {name}", value) for name, value in splits.items()]
    return [*parts, *([_data_part("Data", rest)] if rest else [])]


def _data_part(title: str, content: Mapping[str, Any]) -> DataPart:
    sizes, classes = content.get("sizes"), content.get("classes")
    taken = {key for key, value in (("sizes", sizes), ("classes", classes)) if isinstance(value, Mapping)}
    return DataPart(
        title,
        tuple(fact_groups({key: value for key, value in content.items() if key not in taken})),
        tuple((name, count(n)) for name, n in sizes.items()) if isinstance(sizes, Mapping) else (),
        _class_counts(classes) if isinstance(classes, Mapping) else (),
    )


def _class_counts(classes: Mapping[str, Mapping[str, int]]) -> tuple[ClassCount, ...]:
    total = sum(int(item["pixels"]) for item in classes.values())
    return tuple(
        ClassCount(name, count(item["pixels"]), percent(item["pixels"] / total if total else None, 2), count(item["images"]))
        for name, item in classes.items()
    )
