"""Label maps in MATLAB files (.mat), as SBD and COCO-Stuff 10k ship them. SciPy reads them: the extra `sbd`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, UserError


def need_scipy(data_set: str) -> None:
    """Raise UserError, with the line that installs it, unless SciPy is there."""
    if find_spec("scipy") is None:
        raise UserError(
            f"{data_set} keeps its masks in MATLAB files, and SciPy, which reads them, is not installed. "
            'Install it: pip install "segwright[sbd]".'
        )


def read_mat(path: Path, *names: str) -> Mapping[str, Any]:
    """The variables `names` of a file, as far as it has them. Raises UserError without SciPy, DataError."""
    need_scipy(str(path))
    loadmat = import_module("scipy.io").loadmat  # only here: nothing else needs SciPy
    try:
        content: Mapping[str, Any] = loadmat(path, variable_names=list(names))
    except Exception as error:  # a damaged file may raise nearly anything
        raise DataError(
            f"{path}: the MATLAB file cannot be read ({type(error).__name__}: {error}). Copy or unpack it again."
        ) from error
    return content


def label_map(value: object, path: Path) -> NDArray[np.uint16]:
    """A variable as raw mask values, uint16 [H, W]. Raises DataError unless it holds whole numbers 0..65535."""
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in "iuf":
        raise DataError(f"{path}: found no label matrix in the MATLAB file. Unpack the data set again.")
    numbers = value.astype(np.uint16)
    if not np.array_equal(numbers, value):
        raise DataError(
            f"{path}: the label matrix holds other numbers than whole ones 0..65535. Unpack the data set again."
        )
    return numbers
