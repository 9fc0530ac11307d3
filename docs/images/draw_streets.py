"""Draws docs/images/streets.webp: eight generated street scenes, each above its labels in the colours of Cityscapes.

python docs/images/draw_streets.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from segwright.data.streets import TRAIN_ID, render_scene
from segwright.labels import load_label_space

SEEDS = ((2, 11, 4, 17), (6, 12, 26, 33))
SIZE = (200, 400)
HEAVIEST = 250_000  # bytes


def main() -> None:
    space = load_label_space("cityscapes19")
    rows = []
    for seeds in SEEDS:
        scenes = [render_scene(seed, *SIZE) for seed in seeds]
        rows += [np.hstack([scene.image for scene in scenes])]
        rows += [np.hstack([space.colorize(TRAIN_ID[scene.label_ids]) for scene in scenes])]
    sheet = Image.fromarray(np.vstack(rows))
    path = Path(__file__).with_name("streets.webp")
    for quality in range(85, 20, -5):
        sheet.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size <= HEAVIEST:
            break
    print(f"{path.name}: {sheet.width}×{sheet.height}, {path.stat().st_size} bytes, quality {quality}")


if __name__ == "__main__":
    main()
