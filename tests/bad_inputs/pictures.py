"""What the picture cases (B1) share: pictures with known pixels, and rows that become cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.files import mask, photo, save
from .case import HEIGHT, WIDTH, Case, Truth, companions, put
from .encoding import encoded, palette_image

Content = Callable[[], bytes]
DAMAGED = "damaged|truncated|begins like|breaks off|is missing"
SHARES = (0.01, 0.05, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.99)
JPEG = 20  # quality 95 changes no channel of this picture by more; upside down, it would differ by 100
MANY = 60_000  # this many pixels each way is far above the limit


def grey() -> NDArray[np.uint8]:
    return photo(HEIGHT, WIDTH)[..., 0]


def grey_rgb() -> NDArray[np.uint8]:
    return np.repeat(grey()[..., None], 3, axis=2)


def with_alpha() -> NDArray[np.uint8]:
    return np.dstack([photo(), mask(values=range(0, 256, 5))])


def rgb_of(image: Callable[[], Image.Image]) -> Truth:
    return lambda: np.array(image().convert("RGB"))


def jpeg(**options: Any) -> bytes:
    return encoded(photo(), "JPEG", **{"quality": 95, "subsampling": 0, **options})


def palette() -> Image.Image:
    return palette_image(mask(values=range(200)))


def _made(content: Content, ending: str, size: tuple[int, int], root: Path) -> Path:
    """The odd picture with a healthy mask of its size, beside healthy pairs."""
    companions(root)
    save(root / "train" / "masks" / "odd.png", mask(*size))
    return put(root / "train" / "images" / f"odd{ending}", content())


def refused(name: str, ending: str, content: Content, words: str) -> Case:
    make = partial(_made, content, ending, (HEIGHT, WIDTH))
    return Case(name=name, group="B1", make=make, expect="refused", words=words, codes=("unreadable-image",))


def accepted(
    name: str,
    ending: str,
    content: Content,
    words: str,
    *,
    truth: Truth = photo,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    tolerance: int = 0,
) -> Case:
    make = partial(_made, content, ending, size)
    return Case(name=name, group="B1", make=make, expect="accepted", words=words, truth=truth, tolerance=tolerance)
