"""Segment pictures with the model file beside this script. Needs NumPy, Pillow and onnxruntime (openvino for .xml files).

    python predict.py model.onnx PICTURE... [-o FOLDER]

Writes NAME_ids.png (class ids from 0 in grey) and NAME_color.png (the same ids under the classes' colours).
`segwright export` puts a copy of this file beside each model; nothing in it needs Segwright.

Letters: B batch, C colour, H W pixels, K classes, h w at the network's own stride.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Array = NDArray[Any]


class Model:
    """A model file: `ids` takes a picture, uint8 [H, W, 3] in RGB order, and gives class ids, uint8 [H, W]."""

    def __init__(self, path: str | Path) -> None:
        if str(path).endswith(".xml"):
            import openvino  # type: ignore[import-untyped, import-not-found, unused-ignore]

            read = openvino.Core().read_model(str(path))
            compiled = openvino.Core().compile_model(read, "CPU")
            places = {name: place for place, port in enumerate(read.outputs) for name in port.get_names()}
            self._run = lambda image, name: np.array(compiled(image)[places[name]])
            text = read.get_rt_info("segwright").astype(str)
        else:
            import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]

            options = onnxruntime.SessionOptions()
            options.enable_mem_pattern = False  # up to 40 % less memory, no slower
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self._run = lambda image, name: session.run([name], {"image": image})[0]
            text = session.get_modelmeta().custom_metadata_map["segwright"]
        self.facts: dict[str, Any] = json.loads(text)
        self.classes: list[str] = [item["name"] for item in self.facts["labels"]["classes"]]
        self.colors: list[list[int]] = [item["color"] for item in self.facts["labels"]["classes"]]

    def ids(self, rgb: Array) -> Array:
        height, width = rgb.shape[:2]
        if self.facts["form"] == "picture":
            self._check(height, width)
            found: Array = self._run(np.ascontiguousarray(rgb[None]), "ids")[0]
            return found
        inner_h, inner_w = self._inner(height, width)
        full_h, full_w = (self._padded(side) for side in (inner_h, inner_w))
        self._check(full_h, full_w)
        planes = [rgb[..., channel].astype(np.float32) for channel in range(3)]
        if (inner_h, inner_w) != (height, width):  # antialiased where it shrinks
            size, how = (inner_w, inner_h), Image.Resampling.BILINEAR
            planes = [np.asarray(Image.fromarray(plane).resize(size, how)) for plane in planes]
        image = np.zeros((1, 3, full_h, full_w), np.float32)  # zero is the mean colour once normalised
        for channel, (plane, mean, std) in enumerate(zip(planes, self.facts["mean"], self.facts["std"], strict=True)):
            image[0, channel, :inner_h, :inner_w] = (plane - 255 * mean) / (255 * std)
        best, ids = np.full((height, width), -np.inf, np.float32), np.zeros((height, width), np.uint8)
        for index, scores in enumerate(self._run(image, "logits")[0]):
            score = resized(resized(scores, full_h, full_w)[:inner_h, :inner_w], height, width)
            ids[score > best] = index
            np.maximum(best, score, out=best)
        return ids

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        short = self.facts["short_side"]
        if short is None:
            return height, width
        factor = short / min(height, width)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _padded(self, side: int) -> int:
        stride = self.facts["stride"]
        return max(self.facts["min_size"], -(-side // stride) * stride)

    def _check(self, height: int, width: int) -> None:
        if self.facts["size"] not in (None, [height, width]):
            sys.exit(
                f"error: the model takes {self.facts['size']} (height, width); this picture gives {[height, width]}."
            )


def resized(plane: Array, height: int, width: int) -> Array:
    """Bilinear, pixel centres kept, no antialiasing: float32 [h, w] -> float32 [height, width]."""
    for axis, size in enumerate((height, width)):
        given = plane.shape[axis]
        if size != given:
            at = np.clip((np.arange(size) + 0.5) * (given / size) - 0.5, 0, given - 1)
            low = np.floor(at).astype(int)
            part = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
            high = np.minimum(low + 1, given - 1)
            plane = plane.take(low, axis) * (1 - part) + plane.take(high, axis) * part
    return plane


def main() -> None:
    parser = argparse.ArgumentParser(description="Segment pictures with an exported model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, default=Path("predictions"))
    arguments = parser.parse_args()
    model = Model(arguments.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in arguments.pictures:
        with Image.open(path) as opened:
            rgb = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        ids = model.ids(rgb)
        mask = Image.fromarray(ids)
        mask.save(arguments.out / f"{path.stem}_ids.png")
        mask.putpalette([value for color in model.colors for value in color])
        mask.save(arguments.out / f"{path.stem}_color.png")
        shares = np.bincount(ids.ravel(), minlength=len(model.classes)) / ids.size
        most = sorted(zip(shares, model.classes, strict=True), reverse=True)[:5]
        print(f"{path.name}: {', '.join(f'{name} {share:.0%}' for share, name in most if share > 0)}")


if __name__ == "__main__":
    main()
