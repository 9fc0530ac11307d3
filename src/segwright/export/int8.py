"""Static quantisation to 8-bit integers by onnxruntime, one scale a channel, with ranges seen on real pictures."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.inference.backends.checking import onnx_package

WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
QUANTISED = (*WEIGHTED, "Add", "Mul", "Relu", "Clip", "Concat", "AveragePool", "GlobalAveragePool", "MaxPool", "Resize")
PICTURES = 32
"""How many pictures are enough to see the ranges."""
PIXELS = 512 * 1024
"""Larger pictures are calibrated on at this many pixels: every layer's answer to one of them is held at once."""
PERCENTILE = 99.99
"""How many of a layer's numbers its range holds, of 100. A range that holds the rarest ones is too coarse for the others."""


def quantised(model: Any, inputs: Iterable[NDArray[Any]], count: int) -> Any:
    """The model with its convolutions and products, and what lies between them, in int8 (QDQ form).

    model: an ONNX ModelProto with the input `image` and the output `logits`. inputs: what its input may be, `count` of them,
    at least one.
    What comes before the first layer with weights and after the scores keeps its type.
    Raises UserError where there is no picture, or the package is missing.
    """
    try:
        from onnxruntime import quantization  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise UserError(
            f"the package onnxruntime cannot be imported ({error}). Install it: pip install 'segwright[export]'"
        ) from error
    onnx = onnx_package()
    if count == 0:
        raise UserError("int8 needs pictures to calibrate on: add --calibrate DIR with pictures like those to predict.")
    _name_nodes(model)
    with tempfile.TemporaryDirectory(prefix="segwright-int8-") as folder, _silence():
        target = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            target,
            _Reader(iter(inputs), count),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            nodes_to_exclude=kept(model),
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": False,
                "CalibPercentile": PERCENTILE,
                "CalibStridedMinMax": 1,  # one picture after the other: of all together the memory would be too much
            },
        )
        return onnx.load(target)


def kept(model: Any) -> list[str]:
    """Names of the nodes that stay as they are: those before any layer with weights, and those after the scores."""
    fed: set[str] = set()
    late = {"logits"}
    names = []
    for node in model.graph.node:  # in an order in which every input comes first
        weighted = node.op_type in WEIGHTED
        if not weighted and not fed & set(node.input):
            names.append(node.name)
        else:
            fed |= set(node.output)
        if late & set(node.input):
            late |= set(node.output)
            names.append(node.name)
    return sorted(set(names))


def _name_nodes(model: Any) -> None:
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{place}"


class _Reader:
    """What onnxruntime asks for inputs: a range of them is announced, then each is taken; None at the range's end."""

    def __init__(self, inputs: Iterator[NDArray[Any]], count: int) -> None:
        self._inputs, self._count, self._left = inputs, count, count

    def __len__(self) -> int:
        return self._count

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = end_index - start_index

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        if not self._left:
            return None
        self._left -= 1
        return {"image": next(self._inputs)}


@contextmanager
def _silence() -> Iterator[None]:
    """onnxruntime prints and logs advice to its own authors; nothing in it is for users."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
