"""The one-file form of a Segmenter: a .safetensors file whose metadata says how to build it. Nothing in it names code.

Metadata: `segwright` is JSON with the keys of `_describe`; `sha256` covers that text and every tensor's name, type,
shape and bytes, so that a damaged file never becomes a model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from segwright.contracts import DataError, UserError
from segwright.files import atomic_path
from segwright.labels import LabelSpace
from segwright.models.registry import build_architecture
from segwright.models.segmenter import Segmenter
from segwright.models.tensorfile import bytes_of, save_file

FORMAT = 1
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of torch.save's files: zip archives, and the pickles of older versions. A safetensors file may begin so
too (it starts with the length of its header), but goes on with a brace."""
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class FrozenModel:
    """What a model file holds, taken from a model that may change afterwards.

    description: JSON text. tensors: on the CPU, the model's own where they were there already.
    """

    description: str
    tensors: Mapping[str, Tensor]


def frozen(segmenter: Segmenter, *, dtype: torch.dtype | None = None, copy: bool = False) -> FrozenModel:
    """The model as it is now. dtype: as for `save_segmenter`. copy: tensors that no later training step changes.

    Raises UserError for another dtype, weights too large for it, and provenance that is not JSON.
    """
    tensors = {name: t.detach().to("cpu", copy=copy) for name, t in segmenter.architecture.state_dict().items()}
    tensors = {name: _narrow(name, t, dtype) for name, t in tensors.items()}
    try:
        return FrozenModel(json.dumps(_describe(segmenter), allow_nan=False, ensure_ascii=False), tensors)
    except (TypeError, ValueError) as error:
        raise UserError(f"the provenance or the model's arguments are not plain JSON data ({error}).") from error


def save_segmenter(segmenter: Segmenter, path: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write the model to one file: whole or not at all, an older file stays until the new one is on disk.

    path: conventionally ends in .safetensors. dtype: float32, float16 or bfloat16 for the floating-point weights; None
    keeps their type. Raises UserError for another dtype, weights too large for it, provenance that is not JSON, and a
    file that cannot be written.
    """
    save_frozen(frozen(segmenter, dtype=dtype), Path(path))


def save_frozen(model: FrozenModel, path: Path) -> None:
    """Write what `frozen` took, as `save_segmenter` does. Raises UserError when the file cannot be written."""
    tensors = dict(model.tensors)
    metadata = {"segwright": model.description, "sha256": _digest(model.description, tensors)}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)
    except (OSError, SafetensorError) as error:
        need = sum(t.numel() * t.element_size() for t in tensors.values())
        raise UserError(
            f"the model {path} could not be written ({need / 1e6:.1f} MB needed): {error}. "
            "A file that was there is unharmed. Free some space or choose another folder."
        ) from error


def load_segmenter(path: Path) -> Segmenter:
    """The Segmenter of a file that `save_segmenter` wrote, on the CPU, in evaluation mode, with float32 weights.

    Weights stored as float16 or bfloat16 are widened. Raises UserError for a missing file, another kind of file and an
    unknown architecture; DataError for a damaged file and for tensors that do not fit, with a table of them.
    """
    path = Path(path)
    content, tensors = read_saved(path)
    labels = LabelSpace.from_dict(content["labels"], where=f"{path}, label space")
    model = content["model"]
    architecture = build_architecture(model["name"], labels.num_classes, model["args"], where=str(path), fresh=False)
    expected = architecture.state_dict()
    if table := _differences(expected, tensors):
        raise DataError(f"{path}: its tensors do not fit {model['name']} with {labels.num_classes} classes:\n{table}")
    architecture.load_state_dict(tensors)
    return Segmenter(
        architecture,
        labels=labels,
        model=model,
        mean=content["mean"],
        std=content["std"],
        short_side=content["short_side"],
        provenance=content["provenance"],
        licence=content["licence"],
        temperature=content.get("temperature"),
    ).eval()


def read_saved(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a file that `save_segmenter` wrote, its checksum compared.

    Raises UserError and DataError as `load_segmenter` does.
    """
    metadata, tensors = _read(path)
    return _description(path, metadata, tensors), tensors


def _describe(segmenter: Segmenter) -> dict[str, Any]:
    """temperature is there only where it was fitted: files without one are those of versions that knew none."""
    fitted = {} if segmenter.temperature is None else {"temperature": segmenter.temperature.tolist()}
    return {
        "format": FORMAT,
        "model": {"name": segmenter.model["name"], "args": dict(segmenter.model.get("args", {}))},
        "labels": segmenter.labels.to_dict(),
        "mean": segmenter.mean.flatten().tolist(),
        "std": segmenter.std.flatten().tolist(),
        "short_side": segmenter.short_side,
        "provenance": segmenter.provenance,
        "licence": segmenter.licence,
    } | fitted


def _narrow(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not tensor.is_floating_point():
        return tensor.contiguous()
    if dtype not in DTYPES:
        raise UserError(f"weights cannot be saved as {dtype}; allowed are {', '.join(map(str, DTYPES))}.")
    narrow = tensor.to(dtype).contiguous()
    if not narrow.isfinite().all() and tensor.isfinite().all():
        raise UserError(
            f"tensor {name} has values up to {tensor.abs().max():.3g}, too large for {dtype}. Use torch.bfloat16."
        )
    return narrow


def _digest(description: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"the model file {path} {found}. Give a .safetensors file that Segwright wrote, or a run.")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[:2] in PICKLES and start[8:] != b"{":
            raise UserError(
                f"{path} is a pickle (.pth, .pt, .ckpt): loading one can run any program hidden in it, so Segwright "
                "never does. Give a .safetensors file that Segwright saved, or make one of the tensors in it: "
                "segwright convert FILE --model NAME --labels SPACE."
            )
        with safe_open(path, framework="pt") as opened:
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as a model: it is damaged, cut short or not a .safetensors file ({error}). "
            "Copy it again."
        ) from error


def _description(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if "segwright" not in metadata:
        raise UserError(
            f"{path} holds tensors, but not what Segwright needs to build a model (architecture, label space, mean and "
            "std): another program wrote it, or it is a training checkpoint. Give a model that Segwright saved."
        )
    if metadata.get("sha256") != _digest(metadata["segwright"], tensors):
        raise DataError(
            f"{path} is damaged: its content does not match its checksum. Copy it again, or use another file."
        )
    content: dict[str, Any] = json.loads(metadata["segwright"])  # its checksum holds: save_segmenter wrote it
    if content["format"] != FORMAT:
        raise UserError(
            f"{path} has format {content['format']}; this version of Segwright reads format {FORMAT}. "
            "Install the version that wrote it, or a newer one."
        )
    return content


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], limit: int = 12) -> str:
    """A table of tensors that are missing, unexpected or of another shape; empty when all fit."""
    rows = [f"  missing     {n} {list(t.shape)}" for n, t in expected.items() if n not in found]
    rows += [f"  unexpected  {n} {list(t.shape)}" for n, t in found.items() if n not in expected]
    rows += [
        f"  shape       {n}: the file has {list(found[n].shape)}, the architecture {list(t.shape)}"
        for n, t in expected.items()
        if n in found and found[n].shape != t.shape
    ]
    more = [f"  … and {len(rows) - limit} more"] if len(rows) > limit else []
    return "\n".join(rows[:limit] + more)
