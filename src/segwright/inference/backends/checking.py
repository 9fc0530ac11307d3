"""Is it safe to run this ONNX file? Looked at before any runtime sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from segwright.contracts import DataError, UserError
from segwright.inference.backends.description import KEY

DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Where the operators of an exported model come from; the last one holds onnxruntime's own forms of them."""
LOOPS = ("Loop", "Scan")
LARGEST_FILE = (1 << 31) - 1
LARGEST_TENSOR = 1 << 30
"""Numbers in the largest tensor that a model may ask for."""


def onnx_package() -> ModuleType:
    """The package `onnx`. Raises UserError that says how to install it."""
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            f"this needs the package onnx, which cannot be imported ({error}). Install it: pip install 'segwright[export]'"
        ) from error
    return onnx


def read_checked(path: Path) -> tuple[bytes, str | None]:
    """The bytes of an ONNX file, and what its metadata say under `segwright`.

    Raises UserError where there is no file, DataError for one that is damaged or that should not be run: weights outside
    of the file, operators of other domains, loops, tensors of absurd size.
    """
    onnx = onnx_package()
    if not path.is_file():
        raise UserError(
            f"the model file {path} does not exist. Give a .onnx file that `segwright export` wrote, or a run."
        )
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{path} has {path.stat().st_size / 1e9:.1f} GB; an ONNX file has 2 GB at most.")
    content = path.read_bytes()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        if not model.graph.node:
            raise ValueError("it holds no graph")
    except Exception as error:  # the parser's errors are of several unrelated kinds
        raise _damaged(path, error) from None
    if refusal := _unsafe(model):
        raise _refused(path, refusal)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise _damaged(path, error) from None
    if refusal := _too_large(onnx, model):
        raise _refused(path, refusal)
    return content, {entry.key: entry.value for entry in model.metadata_props}.get(KEY)


def _damaged(path: Path, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return DataError(f"{path} cannot be read as an ONNX model: {reason}. Copy or export it again.")


def _refused(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is refused: {reason}. Run only models that `segwright export` wrote.")


def _unsafe(model: Any) -> str | None:
    """What makes a model unfit to run, or None."""
    own = {(f.domain, f.name) for f in model.functions}
    for graph in _graphs(model):
        for node in graph.node:
            if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
                return f"operator {node.op_type!r} of domain {node.domain!r} is none of ONNX's own"
            if node.op_type in LOOPS:
                return f"operator {node.op_type!r} may never end"
        for tensor in _tensors(graph):
            if tensor.data_location == 1:  # TensorProto.EXTERNAL
                where = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
                return f"tensor {tensor.name!r} lies in another file ({where!r})"
            if math.prod(tensor.dims) > LARGEST_TENSOR or min(tensor.dims, default=0) < 0:
                return f"tensor {tensor.name!r} has the shape {list(tensor.dims)}"
    return None


def _graphs(model: Any) -> Iterator[Any]:
    """The graph, the functions, and graphs inside of nodes, at any depth."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _tensors(graph: Any) -> Iterator[Any]:
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _too_large(onnx: ModuleType, model: Any) -> str | None:
    """The first tensor on the way whose shape is known and absurd, or None."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:
        return f"its shapes contradict each other ({str(error).strip().splitlines()[0][:160]})"
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        if math.prod(sizes) > LARGEST_TENSOR:
            return f"tensor {value.name!r} would have the shape {sizes}"
    return None
