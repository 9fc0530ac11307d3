"""The training checkpoint: one safetensors file with every tensor of the state and its numbers as JSON. No pickles.

Tensors are grouped by a prefix (`model.`, `ema.`, `optimizer.`, `rng.`). The header holds a manifest: the sha256 of the
state and of every tensor. `sha256` guards the header itself, read with its own 64 digits as zeros: so every byte of the
file is covered. The file is written beside the old one, flushed, and renamed over it, and the old one is kept as
`previous`: a kill at any moment leaves a complete checkpoint, and a damaged one falls back to the one before.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from segwright.contracts import DataError, SegwrightError, UserError
from segwright.files import atomic_path
from segwright.models.tensorfile import bytes_of, save_file
from segwright.runs.folder import free_space

FORMAT = "segwright-training-2"
_NO_DIGEST = "0" * 64
_DIGEST_KEY = b'"sha256":"'
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What file systems without hard links answer."""


@dataclass(frozen=True)
class Checkpoint:
    """tensors: all tensors by prefixed name; state: plain JSON data (step, epoch, best score, ...)."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.tensors.values())

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix.`, without it."""
        return {k.removeprefix(f"{prefix}."): v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")}

    def copied(self) -> Checkpoint:
        """The same in the CPU's memory, so that training may go on while it is written."""
        tensors = {
            name: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, t in self.tensors.items()
        }
        return Checkpoint(tensors, json.loads(json.dumps(self.state, allow_nan=False)))


def save_checkpoint(checkpoint: Checkpoint, path: Path, *, previous: Path | None = None) -> None:
    """Write the checkpoint atomically; what `path` held before becomes `previous`, where that is given.

    Raises UserError when the disk is full or not writable; the old files stay.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    state = json.dumps(checkpoint.state, allow_nan=False)
    manifest = {"state": hashlib.sha256(state.encode()).hexdigest(), **{n: _digest(t) for n, t in tensors.items()}}
    metadata = {"format": FORMAT, "state": state, "manifest": json.dumps(manifest), "sha256": _NO_DIGEST}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)
            _seal(temporary)
            if previous is not None and path.exists():
                _keep(path, previous)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the checkpoint {path} could not be written: {_reason(error)}. It needs {checkpoint.nbytes / 1e6:.1f} MB, "
            f"{free_space(path.parent)}. The previous one is unharmed. Free some space, then resume the run."
        ) from None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and compare every checksum.

    Raises UserError when there is none and DataError when it is damaged or something else.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}: the run was stopped before its first one. Start it again.")
    try:
        metadata = _header(path).get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise DataError(f"{path} is not a training checkpoint of this version of Segwright ({FORMAT}).")
        _compare_header(path)
        with safe_open(path, framework="pt") as file:
            tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        manifest = json.loads(metadata["manifest"])
        found = {n: _digest(t) for n, t in tensors.items()}
        found["state"] = hashlib.sha256(metadata["state"].encode()).hexdigest()
        if wrong := sorted(name for name in found.keys() | manifest.keys() if found.get(name) != manifest.get(name)):
            raise DataError(
                f"the checkpoint {path} is damaged: '{wrong[0]}' does not match its sha256 in the manifest."
            )
        return Checkpoint(tensors, json.loads(metadata["state"]))
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, MemoryError, struct.error) as error:
        raise DataError(f"the checkpoint {path} is damaged ({error}).") from None


def load_newest(last: Path, previous: Path) -> tuple[Checkpoint, str]:
    """The newest checkpoint that is whole and, where it is not `last`, a sentence that says so; else an empty text.

    Raises what `load_checkpoint` raises for `last` where there is no `previous`; DataError when both are damaged.
    """
    try:
        return load_checkpoint(last), ""
    except SegwrightError as error:
        problem = error
    if not previous.is_file():
        raise problem
    try:
        found = load_checkpoint(previous)
    except DataError as error:
        raise DataError(
            f"{problem} And the one before: {error} Nothing is left to resume from. "
            f"A new run can start from the best model: model.weights={last.parent / 'best.safetensors'}"
        ) from None
    counters = found.state.get("counters", {})
    return found, (
        f"{problem} Using {previous} instead: epoch {counters.get('epoch')}, step {counters.get('step')}. "
        "What was trained after it is trained again."
    )


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(bytes_of(tensor)).hexdigest()


def _header_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if length > path.stat().st_size:
            raise ValueError("its header says that it is longer than the file")
        return file.read(length)


def _header(path: Path) -> dict[str, Any]:
    content = json.loads(_header_bytes(path))
    if not isinstance(content, dict):
        raise ValueError("its header is not a mapping")
    return content


def _place_of_digest(header: bytes) -> int:
    place = header.find(_DIGEST_KEY)
    if place < 0:
        raise ValueError("its header has no checksum")
    return place + len(_DIGEST_KEY)


def _compare_header(path: Path) -> None:
    header = _header_bytes(path)
    place = _place_of_digest(header)
    blank = header[:place] + _NO_DIGEST.encode() + header[place + 64 :]
    if header[place : place + 64] != hashlib.sha256(blank).hexdigest().encode():
        raise ValueError("its header does not match its sha256")


def _seal(path: Path) -> None:
    """Write the header's checksum into the header, and everything to disk."""
    header = _header_bytes(path)
    with path.open("r+b") as file:
        file.seek(8 + _place_of_digest(header))
        file.write(hashlib.sha256(header).hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())


def _keep(path: Path, previous: Path) -> None:
    """Give the file a second name, so that there is no moment without one; where there are no links, rename it."""
    temporary = previous.with_name(f".{previous.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.link(path, temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        path.replace(previous)
        return
    try:
        temporary.replace(previous)
    finally:
        temporary.unlink(missing_ok=True)  # still there, too, when both were names of one file already


def _reason(error: OSError | SafetensorError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
