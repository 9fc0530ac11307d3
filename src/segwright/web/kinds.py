"""What a client can ask for, and how it says so."""

from __future__ import annotations

from segwright.web.refusals import Refused

MEDIA = {
    "json": "application/json",
    "ids": "image/png",
    "color": "image/png",
    "overlay": "image/png",
    "coco": "application/json",
    "geojson": "application/geo+json",
}
"""Kind of an answer -> its media type."""


def chosen(kind: str | None, accept: str) -> str:
    """The kind that path or query names, else the one that the header Accept wants.

    Raises Refused: 404 for an unknown kind, 406 when nothing fits the header.
    """
    if kind is not None:
        if kind not in MEDIA:
            raise Refused(404, "unknown_kind", f"There is no such answer; allowed are {', '.join(MEDIA)}.")
        return kind
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")] if accept.strip() else ["*/*"]
    for media in wanted:
        if media in ("*/*", "application/*", "application/json"):
            return "json"
        if media == "application/geo+json":
            return "geojson"
        if media in ("image/png", "image/*"):
            return "ids"
    raise Refused(406, "not_acceptable", "Answers are application/json, application/geo+json and image/png.")
