"""A Segmenter as an ONNX file, with everything in its metadata that predicting with it needs.

Letters: B batch, K classes, H W pixels, h w at the network's own stride.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segwright.contracts import DataError, UserError
from segwright.inference.backends.checking import onnx_package
from segwright.inference.backends.description import KEY, PRECISIONS, Description
from segwright.models.segmenter import Segmenter

Picture = NDArray[np.uint8]


def describe(
    segmenter: Segmenter, *, picture: bool = False, precision: str = "fp32", size: tuple[int, int] | None = None
) -> Description:
    """What the exported file will say of itself. Arguments as for `export_onnx`; raises as it does."""
    if precision not in PRECISIONS:
        raise UserError(f"precision is '{precision}'; allowed are {', '.join(PRECISIONS)}.")
    if not segmenter.labels.exclusive:
        raise UserError(f"label space '{segmenter.labels.name}' is multi-label; only exclusive spaces are exported.")
    if picture and segmenter.short_side is not None:
        raise UserError(
            f"the model resizes pictures to a short side of {segmenter.short_side} pixels, which ONNX does not do as torch "
            "does. Leave out --with-processing: `segwright predict` and the predict.py beside the file resize pictures."
        )
    if size is not None and not picture:
        padded = segmenter.sizes(*size).padded
        if padded != size:
            raise UserError(
                f"--size {size[0]}x{size[1]} does not fit the network, whose heights and widths are multiples of "
                f"{segmenter.stride} from {segmenter.min_size} pixels. The nearest size that does is {padded[0]}x{padded[1]}."
            )
    temperature = segmenter.temperature
    return Description(
        form="picture" if picture else "network",
        precision=precision,
        labels=segmenter.labels,
        mean=tuple(segmenter.mean.flatten().tolist()),
        std=tuple(segmenter.std.flatten().tolist()),
        stride=segmenter.stride,
        min_size=segmenter.min_size,
        short_side=segmenter.short_side,
        size=size,
        temperature=None if temperature is None else tuple(temperature.tolist()),
        model=str(segmenter.model["name"]),
        provenance=segmenter.provenance,
        licence=segmenter.licence,
        version=version("segwright"),
    )


def export_onnx(
    segmenter: Segmenter,
    path: Path,
    *,
    picture: bool = False,
    precision: str = "fp32",
    size: tuple[int, int] | None = None,
    calibration: Iterable[Picture] = (),
) -> Description:
    """Write the model as one ONNX file.

    picture: with processing inside: uint8 [B, H, W, 3] in RGB order in, `ids` uint8 [B, H, W] and `logits` float32
    [B, K, h, w] out. Without it: `image` float32 [B, 3, H, W], normalised, padded to multiples of the stride, in; `logits`
    out. precision: fp32, fp16 (weights and arithmetic of the network) or int8 (its convolutions and products).
    size: fixed height and width of the input; None for any. The batch may have any size.
    calibration: for int8, uint8 [H, W, 3] pictures of the kind that it will see.
    Raises UserError for what cannot be exported so, DataError where torch cannot turn the architecture into a graph.
    """
    description = describe(segmenter, picture=picture, precision=precision, size=size)
    onnx = onnx_package()
    model = copy.deepcopy(segmenter).cpu().eval()
    if precision == "fp16":
        model.architecture.half()
    graph: nn.Module = _PictureGraph(model) if picture else _NetworkGraph(model)
    names = ["ids", "logits"] if picture else ["logits"]
    proto = _trace(graph.eval(), _example(segmenter, picture, size), size is None, picture, names)
    if precision == "int8":
        from segwright.export.int8 import quantised

        shown = [_shown(picture, size) for picture in calibration]
        proto = quantised(proto, _inputs(segmenter, description, shown), len(shown))
    _note(proto, description)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        raise DataError(f"torch wrote a graph that is no valid ONNX ({str(error)[:200]}).") from error
    path.write_bytes(proto.SerializeToString())
    return description


class _NetworkGraph(nn.Module):
    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.architecture = segmenter.architecture
        self.dtype = next((p.dtype for p in segmenter.architecture.parameters()), torch.float32)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.architecture(image.to(self.dtype)).logits_BKhw
        return logits.float()


class _PictureGraph(nn.Module):
    """Normalise, pad, network, resize, crop, best class: what `Segmenter.ids` does, in operators of ONNX.

    The padded size is worked out without negative numbers: ONNX divides these towards zero, Python downwards.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter, self.network = segmenter, _NetworkGraph(segmenter)

    def forward(self, image_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        image = image_BHWC.permute(0, 3, 1, 2)
        height, width = image.shape[-2:]
        stride, least = self.segmenter.stride, self.segmenter.min_size
        padded: list[Any] = [torch.sym_max(least, (side + stride - 1) // stride * stride) for side in (height, width)]
        full_h, full_w = padded
        normal = F.pad(self.segmenter.normalise(image), (0, full_w - width, 0, full_h - height))
        logits = self.network(normal)
        resized = F.interpolate(logits, size=(full_h, full_w), mode="bilinear", align_corners=False)
        return resized[..., :height, :width].argmax(1).to(torch.uint8), logits


def _example(segmenter: Segmenter, picture: bool, size: tuple[int, int] | None) -> Tensor:
    """An input of two pictures; of a size that lets every size pass where it is not fixed."""
    generator = torch.Generator().manual_seed(0)
    if size is None:
        blocks = max(2, -(-segmenter.min_size // segmenter.stride))
        odd = segmenter.stride // 2 + 1 if picture else 0
        size = ((blocks + 1) * segmenter.stride + odd, (blocks + 2) * segmenter.stride + odd)
    image = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=generator)
    return (
        image.permute(0, 2, 3, 1).contiguous()
        if picture
        else segmenter.normalise(image.to(segmenter.mean.device)).cpu()
    )


def _trace(graph: nn.Module, example: Tensor, dynamic: bool, picture: bool, names: list[str]) -> Any:
    auto = torch.export.Dim.AUTO
    free = {0: auto} | (dict.fromkeys((1, 2) if picture else (2, 3), auto) if dynamic else {})
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                dynamic_shapes=(free,),
                input_names=["image"],
                output_names=names,
                verbose=False,
            )
    except ImportError as error:
        raise UserError(
            f"torch needs a package for this that cannot be imported ({error}). Install it: pip install 'segwright[export]'"
        ) from error
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        more = " A fixed size may work: --size 512x1024." if dynamic else ""
        raise DataError(f"torch cannot export this architecture ({reason}).{more}") from error
    return program.model_proto  # type: ignore[union-attr]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells its own authors."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _inputs(segmenter: Segmenter, description: Description, pictures: Iterable[Picture]) -> Iterator[NDArray[Any]]:
    """Pictures as the graph takes them."""
    for rgb in pictures:
        if description.form == "picture":
            yield rgb[None]
            continue
        image = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].to(segmenter.mean.device)
        sizes = segmenter.sizes(*rgb.shape[:2])
        if sizes.inner != sizes.given:
            shrinks = min(sizes.inner) < min(sizes.given)
            image = F.interpolate(image.float(), size=sizes.inner, mode="bilinear", antialias=shrinks)
        normal = segmenter.normalise(image)
        pad = (0, sizes.padded[1] - sizes.inner[1], 0, sizes.padded[0] - sizes.inner[0])
        yield F.pad(normal, pad).cpu().numpy()


def _shown(rgb: Picture, size: tuple[int, int] | None) -> Picture:
    """A picture to calibrate on: of the fixed size, or of PIXELS pixels at most."""
    from PIL import Image

    from segwright.export.int8 import PIXELS

    height, width = rgb.shape[:2]
    if size is None:
        shrink = min(1.0, math.sqrt(PIXELS / (height * width)))
        size = (max(1, int(height * shrink)), max(1, int(width * shrink)))
    if size == (height, width):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _note(proto: Any, description: Description) -> None:
    """Write the description, and what other programs look for, into the metadata."""
    del proto.metadata_props[:]
    space = description.labels
    entries = {
        KEY: description.to_json(),
        "class_names": json.dumps(list(space.class_names), ensure_ascii=False),
        "palette": json.dumps([list(item.color) for item in space.classes]),
        "licence": description.licence,
        "segwright_version": description.version,
    }
    for key, value in entries.items():
        proto.metadata_props.add(key=key, value=value)
