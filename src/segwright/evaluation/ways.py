"""The ways to run a model on this machine: torch in several modes, exported files in their runtimes.

Nothing here needs torch until a way of torch is opened, so that a process that runs an exported file stays as small as
the runtime lets it be.

Letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segwright.inference.backends.description import Description

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter

PLAIN = "fp32, plain"
"""The way that all others are compared with: plain eager torch, full-size scores of all classes, then their argmax."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How torch runs a network."""

    precision: str = "fp32"
    memory_format: str = "contiguous"
    folded: bool = False
    compiled: bool = False


TORCH = {
    PLAIN: Mode(),
    "fp32": Mode(),
    "fp32 channels_last": Mode(memory_format="channels_last"),
    "fp32 channels_last, folded": Mode(memory_format="channels_last", folded=True),
    "bf16": Mode(precision="bf16"),
    "bf16 channels_last": Mode(precision="bf16", memory_format="channels_last"),
    "compiled, bf16 channels_last": Mode(precision="bf16", memory_format="channels_last", compiled=True),
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to run a model. backend: torch, or one of `inference.backends.opening.BACKENDS`.

    form: a key of TORCH, or the precision of the exported file. file: what is loaded. text: its description, as JSON, for
    an exported file.
    """

    backend: str
    form: str
    file: Path
    text: str | None = None

    @property
    def name(self) -> str:
        """Such as `torch bf16` or `openvino int8, model-int8.onnx`."""
        return f"{self.backend} {self.form}" + ("" if self.text is None else f", {self.file.name}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `Way.from_dict` takes."""
        return {"backend": self.backend, "form": self.form, "file": str(self.file), "text": self.text}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Way:
        """The way that `to_dict` told."""
        return cls(**(content | {"file": Path(content["file"])}))


def open_torch(segmenter: Segmenter, mode: Mode) -> Segmenter:
    """The model as a mode wants it; precision and memory format of pictures are for the caller."""
    import torch

    from segwright.inference.folding import folded

    model = (folded(segmenter) if mode.folded else segmenter).eval()
    if mode.memory_format == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    if mode.compiled:
        model.architecture = torch.compile(model.architecture)  # type: ignore[assignment]
    return model


def caller(way: Way, *, threads: int, device: str) -> Callable[[NDArray[np.uint8]], Any]:
    """A function from a picture, uint8 [H, W, 3], to its class ids."""
    return _torch(way, threads, device) if way.backend == "torch" else _exported(way, threads)


def _torch(way: Way, threads: int, device: str) -> Callable[[NDArray[np.uint8]], Any]:
    import torch

    from segwright.inference.running import as_image, computing
    from segwright.models.weights import load_segmenter

    torch.set_num_threads(threads)
    mode = TORCH[way.form]
    model = open_torch(load_segmenter(way.file), mode).to(device)

    def call(rgb_HWC: NDArray[np.uint8]) -> Any:
        with computing(device, mode.precision):
            image = as_image(rgb_HWC, device, mode.memory_format)
            found = model(image).argmax(1) if way.form == PLAIN else model.ids(image)
            return found.cpu()

    return call


def _exported(way: Way, threads: int) -> Callable[[NDArray[np.uint8]], Any]:
    import cv2

    from segwright.inference.backends.plain import PlainModel
    from segwright.inference.backends.sessions import OnnxRuntime, OpenVino, Session

    cv2.setNumThreads(threads)
    where = str(way.file)
    session: Session
    if way.backend == "onnxruntime":
        session = OnnxRuntime(way.file.read_bytes(), where, threads=threads)
    else:
        content = way.file if way.file.suffix == ".xml" else way.file.read_bytes()
        session = OpenVino(content, where, threads=threads, precise=way.backend == "openvino-fp32")
    return PlainModel(session, Description.read(way.text, where), where=where).ids
