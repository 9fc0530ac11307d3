"""Ten weight files that would leave a mark (a canary file) if anything in them ran; each writes itself to a path."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Calls:
    """Pickles into a call of `function(*args)` when it is opened."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _marking(canary: Path) -> Calls:
    return Calls(os.system, f"touch {canary}")


def plain_pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(_marking(canary), protocol=2))


def reduce_in_archive(path: Path, canary: Path) -> None:
    torch.save({"state_dict": _marking(canary)}, path)


def nested_deep(path: Path, canary: Path) -> None:
    torch.save({"model": {"a": torch.zeros(2), "b": [{"c": (1, _marking(canary))}]}}, path)


def legacy_file(path: Path, canary: Path) -> None:
    torch.save({"x": torch.zeros(2), "y": _marking(canary)}, path, _use_new_zipfile_serialization=False)


def evaluating(path: Path, canary: Path) -> None:
    torch.save({"x": torch.zeros(2), "y": Calls(eval, f"open({str(canary)!r}, 'w')")}, path)


def state_setter(path: Path, canary: Path) -> None:
    """A whole module, whose class would be imported and whose state would be set."""
    torch.save(nn.Sequential(nn.Conv2d(1, 1, 1)), path)


def legacy_tar(path: Path, canary: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            body = pickle.dumps(_marking(canary), protocol=2)
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))


def _with_member(path: Path, name: str, body: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    torch.save({"x": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr(name, body)


def extra_member(path: Path, canary: Path) -> None:
    _with_member(path, f"{path.stem}/code/__torch__.py", f"open({str(canary)!r}, 'w')".encode())


def escaping_member(path: Path, canary: Path) -> None:
    _with_member(path, f"../{canary.name}", b"x")


def second_pickle(path: Path, canary: Path) -> None:
    """A second data.pkl behind the first one: readers disagree on which counts."""
    _with_member(path, f"{path.stem}/data.pkl", pickle.dumps(_marking(canary), protocol=2))


def packed_bomb(path: Path, canary: Path) -> None:
    _with_member(path, f"{path.stem}/data/99", bytes(10_000_000), zipfile.ZIP_DEFLATED)


HOSTILE = (
    plain_pickle,
    reduce_in_archive,
    nested_deep,
    legacy_file,
    evaluating,
    state_setter,
    legacy_tar,
    extra_member,
    escaping_member,
    second_pickle,
    packed_bomb,
)
