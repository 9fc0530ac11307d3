"""An ONNX file as an OpenVINO model: NAME.xml with NAME.bin beside it."""

from __future__ import annotations

from pathlib import Path

from segwright.contracts import DataError
from segwright.inference.backends.description import KEY, Description
from segwright.inference.backends.sessions import openvino_package


def export_openvino(onnx_file: Path, path: Path, description: Description) -> None:
    """Write the model of an ONNX file as path (.xml) and its weights beside it (.bin).

    fp16 weights are kept as such; others keep their type. Raises UserError where OpenVINO is missing, DataError where it
    cannot read the graph.
    """
    openvino = openvino_package()
    try:
        model = openvino.Core().read_model(str(onnx_file))
    except Exception as error:
        raise DataError(f"OpenVINO cannot read the graph ({str(error).strip().splitlines()[-1][:200]}).") from error
    model.set_rt_info(description.to_json(), [KEY])
    openvino.save_model(model, str(path), compress_to_fp16=description.precision == "fp16")
