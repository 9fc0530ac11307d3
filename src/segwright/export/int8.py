"""Static quantisation to 8-bit integers by onnxruntime, one scale a channel, with ranges seen on real pictures."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.inference.backends.checking import onnx_package

WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
QUANTISED = (*WEIGHTED, "Add", "Mul", "Relu", "Clip", "Concat", "AveragePool", "GlobalAveragePool", "MaxPool", "Resize")
PICTURES = 32
"""How many pictures are enough to see the ranges."""


def quantised(model: Any, inputs: Iterable[NDArray[Any]]) -> Any:
    """The model with its convolutions and products, and what lies between them, in int8 (QDQ form).

    model: an ONNX ModelProto with the input `image` and the output `logits`. inputs: what its input may be, at least one.
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
    reader = _Reader(iter(inputs))
    if reader.first is None:
        raise UserError("int8 needs pictures to calibrate on: add --calibrate DIR with pictures like those to predict.")
    _name_nodes(model)
    with tempfile.TemporaryDirectory(prefix="segwright-int8-") as folder, _silent():
        target = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            target,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            nodes_to_exclude=kept(model),
            extra_options={"ActivationSymmetric": False},
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
    """What onnxruntime asks for the next input; None at the end."""

    def __init__(self, inputs: Iterator[NDArray[Any]]) -> None:
        self.first = next(inputs, None)
        self._waiting, self._inputs = self.first, inputs

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        image, self._waiting = self._waiting, next(self._inputs, None)
        return None if image is None else {"image": image}


class _silent:  # noqa: N801
    """onnxruntime's advice goes to the root logger; nothing in it is for users."""

    def __enter__(self) -> None:
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(logging.NOTSET)
