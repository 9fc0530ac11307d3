"""Weight files that other programs wrote, read as tensors and nothing else: no program in a file ever runs.

`.pth`, `.pt`, `.ckpt` and `.bin` files are pickles, which can run anything when they are opened. They go through
PyTorch's restricted reader (`weights_only=True`), which knows tensors, numbers, texts and plain containers; there is no
second, trusting way. Before that, a zip archive with members that torch.save never writes is refused.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from segwright.contracts import DataError, UserError

MEMBERS = re.compile(
    r"data\.pkl|byteorder|version|data/\d+|\.format_version|\.storage_alignment|\.data/serialization_id"
)
"""What torch.save writes into its archive, below the folder that has the file's name."""
DEPTH = 3
"""How deep containers of weights are looked for: {"checkpoint": {"state_dict": {...}}} is at depth 2."""

_REMEDY = (
    "Open it where you trust it, and keep only the tensors: "
    "torch.save({k: v.detach().clone() for k, v in model.state_dict().items()}, 'weights.pth')."
)


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """Tensors of a file, by the names that it has for them, on the CPU.

    container: the keys that lead to them ("state_dict"), joined by dots; empty when they are at the top.
    sha256: of the whole file. metadata: of a .safetensors file; empty for others.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    container: str
    sha256: str
    metadata: Mapping[str, str]


def read_foreign(path: Path, *, key: str | None = None) -> Foreign:
    """Tensors of a .safetensors, .pth, .pt, .ckpt or .bin file.

    key: which container, where a file has several (weights and their moving average, say): "ema", "model.state_dict".
    Raises UserError for a missing file, a file that holds more than plain data (named), another format, and a choice of
    containers that is left open; DataError for a damaged file and for tensors that are not plain ones.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"the weights file {path} {found}. Give a .safetensors, .pth, .pt, .ckpt or .bin file.")
    with path.open("rb") as file:
        start = file.read(9)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if start[8:] == b"{":
        content, metadata = _read_safetensors(path)
    elif start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
        content, metadata = _read_pickle(path, zipped=start[:2] == b"PK"), {}
    elif tarfile.is_tarfile(path):
        raise UserError(f"{path} is in the tar format of PyTorch before 0.2, which cannot be read safely. {_REMEDY}")
    else:
        raise UserError(f"{path} is no weights file: neither .safetensors nor what torch.save writes.")
    container, tensors = _choose(path, dict(_containers(content)), key)
    for name, tensor in tensors.items():
        _check_plain(path, name, tensor)
    return Foreign(path=path, tensors=tensors, container=container, sha256=sha256, metadata=metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged or cut short ({error}). Copy it again.") from error


def _read_pickle(path: Path, *, zipped: bool) -> Any:
    if zipped:
        _check_members(path)
    try:
        with _no_extra_types():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)|(?:call|class|function|type) ([\w.]+\.[\w.]+)", str(error))
        what = f" ({next(g for g in named.groups() if g).rstrip('.')})" if named else ""
        raise UserError(
            f"{path} holds more than tensors and plain data{what}: opening it could run a program, so it was not "
            f"opened. {_REMEDY}"
        ) from error
    except Exception as error:  # a damaged or hostile file can fail anywhere in PyTorch's reader
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise DataError(
            f"{path} cannot be read: it is damaged, cut short or not what torch.save writes ({reason}). Copy it again."
        ) from error


@contextmanager
def _no_extra_types() -> Iterator[None]:
    """Other libraries may have told PyTorch to trust types of theirs; here none of them counts."""
    trusted = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(trusted)


def _check_members(path: Path) -> None:
    """Raise where the archive has members that torch.save does not write, packed ones, or two of one name."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} is damaged or cut short ({error}). Copy it again.") from error
    names = [m.filename for m in members]
    for member in members:
        _, _, inner = member.filename.partition("/")
        if not MEMBERS.fullmatch(inner):
            raise UserError(
                f"{path} holds '{member.filename[:80]}', which torch.save does not write: it is a TorchScript program "
                f"or something else, and was not opened. {_REMEDY}"
            )
        if member.compress_type != zipfile.ZIP_STORED:
            raise UserError(f"{path}: its member '{member.filename[:80]}' is packed, as torch.save never does.")
    if len(set(names)) < len(names):
        raise UserError(f"{path} holds two members of one name, as torch.save never does. It was not opened.")


def _containers(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping from texts to tensors, by the keys that lead to it. Not those with other keys (the optimiser's)."""
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        return
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield ".".join(path), tensors
    if len(path) < DEPTH:
        for key, value in content.items():
            yield from _containers(value, (*path, key))


def _choose(path: Path, found: dict[str, dict[str, Tensor]], key: str | None) -> tuple[str, dict[str, Tensor]]:
    if not found:
        raise UserError(f"{path} holds no named tensors: a weights file maps names to tensors.")
    listed = ", ".join(f"{name or '(top)'} ({len(tensors)} tensors)" for name, tensors in found.items())
    if key is not None:
        if key not in found:
            raise UserError(f"{path} has no tensors under '{key}'. It has: {listed}.")
        return key, found[key]
    most = max(map(len, found.values()))
    large = {name: tensors for name, tensors in found.items() if 2 * len(tensors) >= most}
    if len(large) > 1:
        raise UserError(f"{path} holds several sets of weights: {listed}. Say which: --key {next(iter(large))}.")
    return next(iter(large.items()))


def _check_plain(path: Path, name: str, tensor: Tensor) -> None:
    """Raise DataError for what a state dict never has: sparse, quantised or empty-handed tensors, and views that repeat
    few numbers over a huge shape."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or tensor.is_nested:
        raise DataError(f"{path}: tensor '{name}' is not a plain dense one ({tensor.layout}, {tensor.device.type}).")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise DataError(
            f"{path}: tensor '{name}' claims {list(tensor.shape)}, more numbers than the file holds for it."
        )
