"""One picture under every corruption and severity, as a sheet to look at."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segwright.contracts import Sample
from segwright.data.corruptions import SEVERITIES, corrupt
from segwright.files import atomic_path
from segwright.inference.drawing import INK, PAPER

WIDTH = 300
"""Of one picture on the sheet, in pixels."""
GAP, TEXT = 6, 20


def write_corruption_sheet(sample: Sample, names: Sequence[str], path: Path, *, seed: int = 0) -> Path:
    """Rows are corruptions, columns severities 1 to 5; what is drawn is what the picture was scored with. WebP."""
    height = max(1, round(sample.rgb.shape[0] * WIDTH / sample.rgb.shape[1]))
    sheet = Image.new("RGB", (len(SEVERITIES) * (WIDTH + GAP) + GAP, len(names) * (height + TEXT + GAP) + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT - 6)
    drawn = zlib.crc32(f"{seed} {sample.name}".encode())
    for row, name in enumerate(names):
        top = GAP + row * (height + TEXT + GAP)
        for column, severity in enumerate(SEVERITIES):
            left = GAP + column * (WIDTH + GAP)
            picture = Image.fromarray(np.ascontiguousarray(corrupt(sample.rgb, name, severity, seed=drawn)))
            draw.text((left, top), f"{name} {severity}", INK, font)
            sheet.paste(picture.resize((WIDTH, height), Image.Resampling.BOX), (left, top + TEXT))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        sheet.save(file, "WEBP", quality=80)
    return path
