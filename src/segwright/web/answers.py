"""From class ids to what a client asked for: PNG pictures, class shares, outlines."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import IGNORE
from segwright.inference.drawing import class_shares, hatch_void, overlay, palette_picture, with_legend
from segwright.labels import LabelSpace
from segwright.web.kinds import MEDIA
from segwright.web.outlines import Region, regions, run_lengths


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a picture is to be answered. name: what the client calls the picture. The rest as for `predict`.

    min_pixels: regions smaller than this get no outline.
    """

    kind: str = "json"
    name: str = ""
    opacity: float = 0.5
    legend: bool = True
    palette: str = "official"
    min_pixels: int = 16


def encode(image: NDArray[np.uint8], ids_HW: NDArray[np.uint8], space: LabelSpace, wish: Wish) -> bytes:
    """The answer in the form that MEDIA names for `wish.kind`. PNG files have the bytes that `segwright predict` writes.

    image: uint8 [H, W, 3]. Raises TooManyPoints.
    """
    if MEDIA[wish.kind] == "image/png":
        return _png(_picture(image, ids_HW, space, wish))
    height, width = ids_HW.shape
    content: Mapping[str, Any]
    if wish.kind == "json":
        content = _shares(ids_HW, space) | {"name": wish.name}
    else:
        found = regions(ids_HW, space, min_pixels=wish.min_pixels)
        content = _coco(found, space, height, width, wish.name) if wish.kind == "coco" else _geojson(found, space)
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _picture(image: NDArray[np.uint8], ids_HW: NDArray[np.uint8], space: LabelSpace, wish: Wish) -> Image.Image:
    safe = wish.palette == "safe"
    if wish.kind == "ids":
        return Image.fromarray(ids_HW)
    if wish.kind == "color":
        return palette_picture(ids_HW, space, safe=safe)
    drawn = hatch_void(overlay(image, ids_HW, space, opacity=wish.opacity, safe=safe), ids_HW)
    if wish.legend:
        drawn = with_legend(drawn, class_shares(ids_HW, space), space, safe=safe)
    return Image.fromarray(drawn)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()  # the levels are those of `predict`: a photo packs four times faster, and hardly larger
    picture.save(buffer, format="PNG", compress_level=1 if picture.mode == "RGB" else 6)
    return buffer.getvalue()


def _shares(ids_HW: NDArray[np.uint8], space: LabelSpace) -> dict[str, Any]:
    counts = np.bincount(ids_HW.ravel(), minlength=256)
    shares = class_shares(ids_HW, space)
    places = {name: k for k, name in enumerate(space.class_names)}
    return {
        "height": ids_HW.shape[0],
        "width": ids_HW.shape[1],
        "classes": [
            _class(places[name], space) | {"pixels": int(counts[places[name]]), "share": share}
            for name, share in shares.items()
        ],
        "without_class": int(counts[IGNORE]),
    }


def _class(class_id: int, space: LabelSpace) -> dict[str, Any]:
    one = space.classes[class_id]
    return {"id": class_id, "name": one.name, "color": list(one.color)}


def _coco(found: list[Region], space: LabelSpace, height: int, width: int, name: str) -> Mapping[str, Any]:
    """Regions with holes are run lengths: COCO's polygons have no holes."""
    annotations = []
    for number, region in enumerate(found, start=1):
        outline: Any = [region.rings[0].ravel().tolist()]
        if len(region.rings) > 1:
            outline = {"counts": run_lengths(region, height, width), "size": [height, width]}
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": region.class_id,
                "segmentation": outline,
                "area": region.pixels,
                "bbox": list(region.box),
                "iscrowd": 0,
            }
        )
    return {
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "categories": [{"id": k, "name": n} for k, n in enumerate(space.class_names)],
        "annotations": annotations,
    }


def _geojson(found: list[Region], space: LabelSpace) -> Mapping[str, Any]:
    features = []
    for region in found:
        rings = [[*ring.tolist(), ring[0].tolist()] for ring in region.rings]
        features.append(
            {
                "type": "Feature",
                "properties": _class(region.class_id, space) | {"pixels": region.pixels},
                "geometry": {"type": "Polygon", "coordinates": rings},
            }
        )
    return {"type": "FeatureCollection", "features": features}
