"""How the classes of two label spaces find each other: shipped tables, names, aliases, groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple

import yaml

from segwright.labels.space import LabelClass, LabelSpace

How = Literal["name", "alias", "group", "members", "table", "given", "ignored", "lost"]
"""How a row was found: by equal names; by another name; the class's group is a target class; the class is the group of
some target classes; a shipped table; the caller's override; the target lists it as ignored; not found."""


class Match(NamedTuple):
    """Target class ids that one source class may be (none: ignored or lost), and how they were found."""

    targets: frozenset[int]
    how: How


def spelled(name: str) -> str:
    """A name without case, spaces, hyphens and underscores: `Column_Pole` and `column pole` are the same."""
    return re.sub(r"[\s_-]+", "", name.casefold())


@dataclass(frozen=True)
class Names:
    """The names of one space, spelled alike: class names and aliases -> class id, and labels that count nowhere."""

    names: Mapping[str, int]
    aliases: Mapping[str, int]
    ignored: frozenset[str]

    @classmethod
    def of(cls, space: LabelSpace) -> Names:
        return cls(
            {spelled(c.name): k for k, c in enumerate(space.classes)},
            {spelled(a): k for k, c in enumerate(space.classes) for a in c.aliases},
            frozenset(spelled(n) for c in space.ignored for n in (c.name, *c.aliases)),
        )

    def find(self, *wanted: str) -> frozenset[int]:
        """Classes that have one of these names or aliases."""
        keys = [spelled(w) for w in wanted]
        return frozenset(table[k] for k in keys for table in (self.names, self.aliases) if k in table)


class _Table(NamedTuple):
    """A shipped table: class -> target classes, for every pair of these spaces."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]


@cache
def shipped_tables() -> tuple[_Table, ...]:
    """What names cannot decide, from labels/maps/*.yaml."""
    tables = []
    for file in sorted((resources.files("segwright.labels") / "maps").iterdir(), key=lambda p: p.name):
        if file.name.endswith(".yaml"):
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            rows = {name: (to,) if isinstance(to, str) else tuple(to or ()) for name, to in content["classes"].items()}
            tables.append(_Table(tuple(content["sources"]), tuple(content["targets"]), rows))
    return tuple(tables)


def shipped_table(source: str, target: str) -> dict[str, tuple[str, ...]]:
    """Class of `source` -> classes of `target`, from every shipped table for this pair; empty when there is none."""
    found: dict[str, tuple[str, ...]] = {}
    for table in shipped_tables():
        if source in table.sources and target in table.targets:
            found |= table.classes
    return found


def match_classes(source: LabelSpace, target: LabelSpace) -> list[Match]:
    """One Match for each class of `source`, in order.

    A shipped table decides first, then `_direct`. Where a table ships for the way back, this way is its reverse: a
    class may be every class that the way back turns into it (CamVid's car: a car, truck, bus or train of Cityscapes).
    A class that finds nothing may be the group of target classes: then it is one of these.
    """
    there, back = shipped_table(source.name, target.name), shipped_table(target.name, source.name)
    into, out = Names.of(target), Names.of(source)
    returning = [_direct(c, out, back) for c in target.classes]
    matches = []
    for index, item in enumerate(source.classes):
        match = _direct(item, into, there)
        members = frozenset(t for t, way in enumerate(returning) if index in way.targets)
        if back and item.name not in there and members and members != match.targets:
            match = Match(members, "table")
        elif match.how == "lost" and members:
            match = Match(members, "members")
        matches.append(match)
    return matches


def _direct(item: LabelClass, target: Names, table: Mapping[str, tuple[str, ...]]) -> Match:
    """The classes of the target that a class is, by table, name, alias, ignored labels, and then by its group."""
    wanted = table.get(item.name)
    if wanted is not None and ((given := target.find(*wanted)) or not wanted):  # a file's own space may lack them
        return Match(given, "table")
    if (same := target.names.get(spelled(item.name))) is not None:
        return Match(frozenset({same}), "name")
    if found := target.find(item.name, *item.aliases):
        return Match(found, "alias")
    if {spelled(n) for n in (item.name, *item.aliases)} & target.ignored:
        return Match(frozenset(), "ignored")
    if item.group and (whole := target.names.get(spelled(item.group))) is not None:
        return Match(frozenset({whole}), "group")
    return Match(frozenset(), "lost")
