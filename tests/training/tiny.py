"""A tiny data set and recipe: coloured shapes whose class is their colour, learnt in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = np.array([[30, 30, 30], [200, 40, 40], [40, 200, 60]], np.uint8)


def write_pictures(
    root: Path, *, train: int = 10, val: int = 4, size: tuple[int, int] = (48, 64), seed: int = 0
) -> Path:
    """root/{train,val}/{images,masks}/NN.png with ids 0..2."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            mask = np.zeros(size, np.uint8)
            for label in (1, 2):
                top, left = rng.integers(0, size[0] - 16), rng.integers(0, size[1] - 16)
                mask[top : top + 16, left : left + 16] = label
            image = np.clip(COLORS[mask].astype(int) + rng.integers(-20, 21, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{split}_{index:02d}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{split}_{index:02d}.png")
    return root


RECIPE = """# tiny
name: tiny
seed: 3
data:
  name: paired_folders
  root: {root}
  labels:
    name: shapes
    classes:
      - {{name: ground, values: [0], color: [30, 30, 30]}}
      - {{name: red, values: [1], color: [200, 40, 40]}}
      - {{name: green, values: [2], color: [40, 200, 60]}}
  train: train
  val: val
model: {{name: unet, args: {{width: 4, depth: 2}}}}
loss: {{name: cross_entropy, args: {{class_weights: enet}}}}
optimizer: {{name: adamw, lr: 0.01}}
schedule: {{name: poly, warmup: 0.2}}
augmentation: {{name: standard, size: [32, 32], args: {{crop_p: 1.0, scale: [0.8, 1.2]}}}}
training:
  epochs: 3
  batch: 4
  accumulation: 2
  device: cpu
  precision: fp32
  memory_format: channels_last
  ema_decay: 0.9
"""


def write_recipe(folder: Path, root: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(root=root), encoding="utf-8")
    return path
