"""The pages of the server, as text. They are part of the package and are read once: no request ever names a file."""

from __future__ import annotations

from functools import cache
from importlib import metadata, resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from segwright.report.page import render_part
from segwright.report.page import static as shared
from segwright.web.guard import OPEN, POLICY
from segwright.web.kinds import MEDIA


def drop_page() -> str:
    """The page that takes a picture and shows its classes."""
    return _render("page.html")


def docs_page(schema: dict[str, Any]) -> str:
    """What FastAPI's schema says, readable: its own page would load a script from another site."""
    routes = [
        {"method": method.upper(), "path": path, "open": path in OPEN, **operation}
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return _render("docs.html", routes=routes, media=MEDIA)


def style() -> str:
    """CSS of both pages, after that of the reports."""
    return shared("report.css") + _static("page.css")


def script() -> str:
    return _static("page.js")


def _render(template: str, **content: Any) -> str:
    head = render_part("head.html", policy=POLICY)
    version = metadata.version("segwright")
    return (
        _environment()
        .get_template(template)
        .render(head=head, brand=render_part("brand.html"), version=version, **content)
    )


def _static(name: str) -> str:
    return (resources.files("segwright.web") / "static" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("segwright.web", "static"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
