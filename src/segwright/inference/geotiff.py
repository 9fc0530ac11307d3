"""Where a picture lies on the Earth: the tags of a GeoTIFF, kept for the maps that are made of it.

Source: OGC GeoTIFF standard 1.1, and GDAL's tag for pixels without data.

Letters: H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from segwright.data.reading import exif_orientation

PLACE = (33550, 33922, 34264, 34735, 34736, 34737)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams."""
NO_DATA = 42113
"""Text: the number that pixels without data hold."""
_EIGHT_BITS = ("L", "RGB", "RGBA")


@dataclass(frozen=True)
class Place:
    """What a TIFF file says of its place. tags: number -> (kind of its values, values), those of PLACE; maybe none.

    no_data: number of pixels without data; None where the file says none, or holds other than 8-bit grey or colours.
    """

    tags: Mapping[int, tuple[int, Any]]
    no_data: float | None = None

    def missing(self, rgb_HWC: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
        """bool [H, W]: pixels without data, whose channels all hold its number; None where there are none."""
        if self.no_data is None:
            return None
        found_HW: NDArray[np.bool_] = (rgb_HWC == self.no_data).all(2)
        return found_HW if found_HW.any() else None

    def info(self, no_data: float) -> ImageFileDirectory_v2:
        """Tags for a TIFF of the same size at the same place, whose pixels without data hold this number, or NaN."""
        written = ImageFileDirectory_v2()
        for tag, (kind, values) in self.tags.items():
            written.tagtype[tag] = kind
            written[tag] = values
        written.tagtype[NO_DATA] = 2  # text
        written[NO_DATA] = "nan" if math.isnan(no_data) else f"{no_data:g}"
        return written


NOWHERE = Place({})


def read_place(path: Path) -> Place:
    """The place of a picture that `read_image` has read; NOWHERE for other files than TIFF, and for turned ones."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return NOWHERE
    with Image.open(path) as image:
        if image.format != "TIFF" or exif_orientation(image) != 1:
            return NOWHERE
        held: Any = image.tag_v2  # type: ignore[attr-defined]
        tags = {tag: (int(held.tagtype[tag]), held[tag]) for tag in PLACE if tag in held}
        return Place(tags, _number(held.get(NO_DATA)) if image.mode in _EIGHT_BITS else None)


def _number(text: Any) -> float | None:
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None
