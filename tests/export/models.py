"""Small models with real statistics, and a folder of labelled pictures, for the tests of export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segwright.models import Segmenter, build_architecture
from tests.models.conftest import pictures, space, with_real_statistics

SMALL: dict[str, Any] = {"name": "small_cnn", "args": {"width": 4}}


def small_model(name: str = "small_cnn", args: dict[str, Any] | None = None, **options: Any) -> Segmenter:
    """Random weights, the same at each call, whose outputs have the size of a trained net's."""
    torch.manual_seed(0)
    given = {"width": 4} if args is None else args
    model = Segmenter(
        build_architecture(name, 4, given), labels=space(4), model={"name": name, "args": given}, **options
    )
    with_real_statistics(model, pictures(2, 97, 129))
    return model


def labelled_folder(folder: Path, count: int = 3) -> Path:
    """Paired folders of noise in blocks: pictures and masks of the classes 0..3."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        for split in ("train", "val"):
            (folder / part / split).mkdir(parents=True)
            for index in range(count):
                shape = (9, 13, 3) if part == "images" else (9, 13)
                coarse = rng.integers(0, 256 if part == "images" else 4, shape, dtype=np.uint8)
                whole = coarse.repeat(8, 0).repeat(8, 1)[:67, :101]
                Image.fromarray(whole).save(folder / part / split / f"{split}{index}.png")
    return folder
