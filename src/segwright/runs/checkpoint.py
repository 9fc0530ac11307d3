"""The training checkpoint: one safetensors file with every tensor of the state and its numbers as JSON. No pickles.

Tensors are grouped by a prefix (`model.`, `ema.`, `optimizer.`, `rng.`). The file is written beside the old one,
flushed, and renamed over it: a kill at any moment leaves a complete checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from segwright.contracts import DataError, UserError
from segwright.files import atomic_path

FORMAT = "segwright-training-1"


@dataclass(frozen=True)
class Checkpoint:
    """tensors: all tensors by prefixed name; state: plain JSON data (step, epoch, best score, ...)."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix.`, without it."""
        return {k.removeprefix(f"{prefix}."): v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")}


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the checkpoint atomically. Raises UserError when the disk is full or not writable; the old file stays."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in checkpoint.tensors.items()}
    metadata = {"format": FORMAT, "state": json.dumps(checkpoint.state, allow_nan=False)}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)
    except (OSError, SafetensorError) as error:
        need = sum(t.numel() * t.element_size() for t in tensors.values())
        raise UserError(
            f"the checkpoint {path} could not be written ({need / 1e6:.0f} MB needed): {error}. "
            "The previous one is unharmed. Free some space, then resume the run."
        ) from None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises UserError when there is none and DataError when it is damaged or something else."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}: the run was stopped before its first one. Start it again.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise DataError(f"{path} is not a training checkpoint of this version of Segwright ({FORMAT}).")
            return Checkpoint({n: file.get_tensor(n) for n in file.keys()}, json.loads(metadata["state"]))  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError, KeyError) as error:
        raise DataError(f"the checkpoint {path} is damaged ({error}).") from None
