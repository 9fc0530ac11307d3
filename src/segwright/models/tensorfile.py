"""Writing .safetensors files straight into the path that is asked for.

The library's own writer goes through a temporary file of its own name and closes it to other users; when it is killed,
that file stays. Here the caller decides where bytes go, and the usual permissions hold. Reading is the library's.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bool: "BOOL",
}
"""Types that a file may hold; tensors lie in the order of their size, so that each is aligned."""


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, in C order; copied only where it lies otherwise in memory."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def save_file(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write CPU tensors and texts as one .safetensors file; names are sorted within a type.

    Raises KeyError for a type that the format does not have, OSError when the file cannot be written.
    """
    place = {dtype: number for number, dtype in enumerate(DTYPES)}
    names = sorted(tensors, key=lambda name: (place[tensors[name].dtype], name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in names:
            file.write(bytes_of(tensors[name]))
