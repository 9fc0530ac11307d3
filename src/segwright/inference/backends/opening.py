"""Opening an exported file: checked, loaded by a runtime, and seen as a Segmenter."""

from __future__ import annotations

from pathlib import Path

from segwright.contracts import UserError
from segwright.inference.backends.checking import read_checked
from segwright.inference.backends.description import Description
from segwright.inference.backends.exported import ExportedSegmenter
from segwright.inference.backends.sessions import OnnxRuntime, OpenVino, Session

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
    import torch

    path = Path(path)
    known = SUFFIXES.get(path.suffix.lower())
    if known is None:
        raise UserError(f"{path} is no exported model; known endings are {', '.join(SUFFIXES)}.")
    backend = known[0] if backend is None else backend
    if backend not in known:
        raise UserError(f"{path} runs in {', '.join(known)}, not in '{backend}'.")
    threads = threads or torch.get_num_threads()
    session: Session
    if path.suffix.lower() == ".onnx":
        content, text = read_checked(path)
        description = Description.read(text, str(path))
        if backend == "onnxruntime":
            session = OnnxRuntime(content, str(path), threads=threads)
        else:
            session = OpenVino(content, str(path), threads=threads, precise=backend == "openvino-fp32")
        return ExportedSegmenter(session, description, where=str(path))
    if not path.is_file():
        raise UserError(f"the model file {path} does not exist. Export one: segwright export RUN --to openvino")
    loaded = OpenVino(path, str(path), threads=threads, precise=backend == "openvino-fp32")
    return ExportedSegmenter(loaded, Description.read(loaded.text, str(path)), where=str(path))
