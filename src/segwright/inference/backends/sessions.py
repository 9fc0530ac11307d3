"""One small interface over the runtimes: named outputs of one array. Nothing here needs torch.

Letters: B batch, K classes, H W pixels, h w at the network's own stride.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, UserError
from segwright.inference.backends.description import KEY

Array = NDArray[Any]


class Session(Protocol):
    """A model that a runtime has loaded.

    input_shape: of its one input, None where any size goes. output_shapes: by name of the output.
    """

    backend: str
    input_shape: tuple[int | None, ...]
    input_type: np.dtype[Any]
    output_shapes: Mapping[str, tuple[int | None, ...]]

    def run(self, image: Array, outputs: Sequence[str]) -> list[Array]:
        """The named outputs for one input, which hold until the next call. Raises DataError when the runtime fails on it."""
        ...

    def beside(self, count: int) -> list[Session]:
        """`count` sessions of the same model with one thread each, which may run at the same time, each in a thread.

        Together they compute more than one session of as many threads does: its threads wait for each other at every layer.
        """
        ...


class OnnxRuntime:
    """An ONNX model in onnxruntime, on the CPU.

    model: bytes of a checked file. threads: of one call; None for one a core.
    Raises UserError where the package is missing, DataError for a model that it refuses.
    """

    backend = "onnxruntime"

    def __init__(self, model: bytes, where: str, *, threads: int | None = None) -> None:
        try:
            import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]
        except ImportError as error:
            raise _missing("onnxruntime", error) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4
        options.enable_mem_pattern = (
            False  # one block planned for all tensors, beside those of the first call: no faster
        )
        self._where, self._content = where, model
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _refused(where, self.backend, error) from None
        _give_back()
        if len(self._session.get_inputs()) != 1:
            raise DataError(f"{where} has {len(self._session.get_inputs())} inputs; an exported segmenter has one.")
        given = self._session.get_inputs()[0]
        self._input = given.name
        self.input_shape: tuple[int | None, ...] = _shape(given.shape)
        self.input_type = np.dtype({"tensor(uint8)": "uint8", "tensor(float)": "float32"}.get(given.type, "object"))
        self.output_shapes: Mapping[str, tuple[int | None, ...]] = {
            found.name: _shape(found.shape) for found in self._session.get_outputs()
        }

    def run(self, image: Array, outputs: Sequence[str]) -> list[Array]:
        try:
            return list(self._session.run(list(outputs), {self._input: image}))
        except Exception as error:
            raise _failed(self._where, self.backend, image, error) from None

    def beside(self, count: int) -> list[Session]:
        one = OnnxRuntime(self._content, self._where, threads=1)  # runs in as many threads as call it
        return [one] * count


class OpenVino:
    """An ONNX model (bytes) or an OpenVINO model (path of its .xml) in OpenVINO, on the CPU.

    precise: compute in float32; else in what OpenVINO finds fastest here, bfloat16 on processors that have it.
    A model whose height and width are fixed is compiled for one picture, which takes a quarter less memory than leaving
    their number open; the form for several is compiled when the first ones come together.
    Raises as OnnxRuntime does.
    """

    backend = "openvino"

    def __init__(self, model: bytes | Path, where: str, *, threads: int | None = None, precise: bool = False) -> None:
        self._core = openvino_package().Core()
        self._where, self._content = where, model
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        self._settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
        self._settings |= {"INFERENCE_PRECISION_HINT": "f32"} if precise else {}
        self.backend = "openvino-fp32" if precise else "openvino"
        try:
            read = self._read()
            self.text = read.get_rt_info(KEY).astype(str) if read.has_rt_info(KEY) else None
            if len(read.inputs) != 1:
                raise DataError(f"{where} has {len(read.inputs)} inputs; an exported segmenter has one.")
            given = read.inputs[0]
            self.input_shape = _partial(given)
            self.input_type = np.dtype(given.get_element_type().to_dtype())
            self._places = {name: place for place, port in enumerate(read.outputs) for name in port.get_names()}
            self.output_shapes: Mapping[str, tuple[int | None, ...]] = {
                name: _partial(read.outputs[place]) for name, place in self._places.items()
            }
            self._one, self._several = None, None
            if self.input_shape[:1] == (None,) and None not in self.input_shape[1:]:
                read.reshape([1, *self.input_shape[1:]])
                self._one = self._compiled(read)
            else:
                self._several = self._compiled(read)
        except DataError:
            raise
        except Exception as error:
            raise _refused(where, "openvino", error) from None

    def run(self, image: Array, outputs: Sequence[str]) -> list[Array]:
        if len(image) == 1 and self._one is not None:
            return self.infer(self._one, image, outputs)
        self._several = self._several or self._compiled(self._read())
        return self.infer(self._several, image, outputs)

    def infer(self, model: Callable[..., Any], image: Array, outputs: Sequence[str]) -> list[Array]:
        """What `run` gives, by a compiled model or one of its requests."""
        try:
            found = model(image, share_inputs=True, share_outputs=True)
            return [found[self._places[name]] for name in outputs]
        except Exception as error:
            raise _failed(self._where, self.backend, image, error) from None

    def beside(self, count: int) -> list[Session]:
        read = self._read()
        if self.input_shape[:1] == (None,) and None not in self.input_shape[1:]:
            read.reshape([1, *self.input_shape[1:]])
        model = self._compiled(read, NUM_STREAMS=count, INFERENCE_NUM_THREADS=count)
        return [_Stream(self, model) for _ in range(count)]

    def _read(self) -> Any:
        content = self._content
        return (
            self._core.read_model(content, b"") if isinstance(content, bytes) else self._core.read_model(str(content))
        )

    def _compiled(self, read: Any, **settings: int) -> Any:
        compiled = self._core.compile_model(read, "CPU", self._settings | settings)
        _give_back()
        return compiled


class _Stream:
    """One of several requests of a compiled model, each of which has a thread of its own."""

    def __init__(self, whole: OpenVino, model: Any) -> None:
        self._whole, self._request = whole, model.create_infer_request()
        self.backend, self.input_shape, self.input_type = whole.backend, whole.input_shape, whole.input_type
        self.output_shapes = whole.output_shapes

    def run(self, image: Array, outputs: Sequence[str]) -> list[Array]:
        return self._whole.infer(self._request.infer, image, outputs)

    def beside(self, count: int) -> list[Session]:
        return self._whole.beside(count)


def openvino_package() -> Any:
    """The package `openvino`, without the tools that convert models of other frameworks where it is not loaded yet.

    They are optional to it and bring a telemetry client, an HTTP client and a flag parser: 20 MB, and most of the time
    that the import takes. `import openvino.tools.ovc` finds them all the same. Raises UserError that says how to install
    the package.
    """
    tools = "openvino.tools.ovc"
    spared = "openvino" not in sys.modules and tools not in sys.modules
    if spared:
        sys.modules[tools] = None  # type: ignore[assignment]  # importing it raises ImportError, which openvino expects
    try:
        import openvino  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise _missing("openvino", error) from error
    finally:
        if spared:
            del sys.modules[tools]
    return openvino


def _give_back() -> None:
    """Hand the memory that loading took and freed back to the system, where glibc's allocator keeps it: about 10 MB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _shape(sizes: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in sizes)


def _partial(port: Any) -> tuple[int | None, ...]:
    shape = port.get_partial_shape()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)


def _missing(package: str, error: ImportError) -> UserError:
    return UserError(f"the package {package} cannot be imported ({error}). Install it: pip install 'segwright[export]'")


def _refused(where: str, backend: str, error: Exception) -> DataError:
    return DataError(f"{where}: {backend} cannot load it ({_first(error)}). Export the model again.")


def _failed(where: str, backend: str, image: Array, error: Exception) -> DataError:
    return DataError(
        f"{where}: {backend} failed on an input of {image.dtype} {list(image.shape)} ({_first(error)}). Export the model again, "
        "or take a smaller picture."
    )


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
