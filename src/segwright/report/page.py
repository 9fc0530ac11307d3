"""One HTML file that requests nothing from anywhere: what every page of Segwright is rendered and written with.

Names of classes, files and runs are hostile until escaped: the templates escape everything by default, and a page
allows no script but its own (a content security policy with the hash of that one script).
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from segwright.contracts import UserError
from segwright.files import write_text
from segwright.report import wording

SCRIPTS = ("report.js", "layers.js", "viewer.js", "gallery.js")
"""Of every page, in this order; each is idle where the page lacks what it works on."""


def render_page(template: str, *, style: str, script: str = "", written: datetime | None = None, **content: Any) -> str:
    """The page as text: a template and the script of all pages.

    style: CSS. script: what this kind of page adds to the script. written: in its footer, now when None.
    """
    script = "".join(static(name) for name in SCRIPTS) + script
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(style),
            script=Markup(script),
            version=metadata.version("segwright"),
            written=(written or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
            **content,
        )
    )


def render_part(template: str, **content: Any) -> Markup:
    """A part of a page, such as a chapter, with the macros and filters that pages have."""
    return Markup(_environment().get_template(template).render(**content))


def write_page(page: str, path: Path) -> Path:
    """Write a page atomically. Returns the path. Raises UserError when it cannot be written."""
    try:
        return write_text(path, page)
    except OSError as error:
        raise UserError(
            f"{path}: the report cannot be written ({error.strerror}). Free the path or make its folder writable, then "
            "write it again."
        ) from error


def static(name: str) -> str:
    """A file of the templates folder as it is."""
    return (resources.files("segwright.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("segwright.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": wording.percent,
        "bare": wording.bare,
        "points": wording.points,
        "thousands": wording.count,
        "coefficient": wording.coefficient,
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    return made


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
