"""The end of the page: recipe, environment, and what data was seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from segwright.report.wording import NONE, THIN, count, number, percent

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


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested plain data as (name, text) pairs: `packages` -> {"torch": …} becomes "packages torch"."""
    for key, value in content.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from flatten(value, name)
        else:
            yield name, plain(value)


def plain(value: object) -> str:
    """A JSON value for people: lists joined, None and empty lists as "–"."""
    if value is None or value == [] or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return number(value, 4) if isinstance(value, float) else str(value)
