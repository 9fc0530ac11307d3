"""Opening an exported file: checked, loaded by a runtime, and seen as a Segmenter or, without torch, as a PlainModel."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from segwright.contracts import UserError
from segwright.inference.backends.checking import read_checked
from segwright.inference.backends.description import Description
from segwright.inference.backends.plain import PlainModel, check_graph
from segwright.inference.backends.sessions import OnnxRuntime, OpenVino, Session

if TYPE_CHECKING:
    from segwright.inference.backends.exported import ExportedSegmenter

BACKENDS = ("onnxruntime", "openvino", "openvino-fp32")
"""What runs an exported file: onnxruntime; OpenVINO in the precision that it finds fastest here; OpenVINO in float32."""
SUFFIXES = {".onnx": BACKENDS, ".xml": ("openvino", "openvino-fp32")}
"""Which of them read a file, by its ending; the first one is the default."""


def load_exported(path: Path, backend: str | None = None, *, threads: int | None = None) -> ExportedSegmenter:
    """The model of a file that `segwright export` wrote, .onnx or .xml, ready to predict on the CPU.

    backend: a name in BACKENDS that reads this kind of file; the first one when None. threads: of one call; torch's
    number when None.
    Raises UserError for a missing file or package, another backend, and a file without a description; DataError for a
    file that is damaged, unsafe or contradicts its description.
    """
    from segwright.inference.backends.exported import ExportedSegmenter

    return ExportedSegmenter(*_open(Path(path), backend, threads or default_threads()), where=str(path))


def load_plain(path: Path, backend: str | None = None, *, threads: int | None = None) -> PlainModel:
    """As `load_exported`, with class ids alone and without torch."""
    session, description = _open(Path(path), backend, threads or default_threads())
    check_graph(session, description, str(path))
    return PlainModel(session, description, where=str(path))


def default_threads() -> int:
    """As many as torch takes: what OMP_NUM_THREADS says, else one for each processor core that this process may use."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(mine, psutil.cpu_count(logical=False) or mine)


def reader(path: Path, backend: str | None = None) -> str:
    """The name of what reads a file with this ending: `backend`, or the first one when None. Raises UserError for others."""
    known = SUFFIXES.get(path.suffix.lower())
    if known is None:
        raise UserError(f"{path} is no exported model; known endings are {', '.join(SUFFIXES)}.")
    backend = known[0] if backend is None else backend
    if backend not in known:
        raise UserError(f"{path} runs in {', '.join(known)}, not in '{backend}'.")
    return backend


def _open(path: Path, backend: str | None, threads: int) -> tuple[Session, Description]:
    backend = reader(path, backend)
    precise = backend == "openvino-fp32"
    if path.suffix.lower() == ".onnx":
        content, text = read_checked(path)
        description = Description.read(text, str(path))
        if backend == "onnxruntime":
            return OnnxRuntime(content, str(path), threads=threads), description
        return OpenVino(content, str(path), threads=threads, precise=precise), description
    if not path.is_file():
        raise UserError(f"the model file {path} does not exist. Export one: segwright export RUN --to openvino")
    loaded = OpenVino(path, str(path), threads=threads, precise=precise)
    return loaded, Description.read(loaded.text, str(path))
