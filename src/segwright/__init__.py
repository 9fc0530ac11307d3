"""Segwright: semantic segmentation that people can trust.

The verbs of the command line as functions with result objects (`models` is `list_models` here, and `report` is
`write_report`, because sub-packages have those names; `convert` is `convert_weights`): `segwright.train("camvid-cpu", ["data.root=DIR"])`.
Importing this package loads neither torch nor any model.
"""

from segwright.api import (
    TrainResult,
    check_data,
    clear_packs,
    convert_weights,
    data_statistics,
    demo,
    describe_model,
    doctor,
    evaluate,
    features,
    fix_data,
    get_data,
    gradcam,
    label_space,
    list_labels,
    list_models,
    list_packs,
    make_streets,
    map_labels,
    pack_data,
    predict,
    receptive_field,
    resume,
    show_data,
    split_data,
    summary,
    train,
    write_report,
)
from segwright.contracts import IGNORE, DataError, SegwrightError, UserError

__version__ = "0.1.0"

__all__ = [
    "IGNORE",
    "DataError",
    "SegwrightError",
    "TrainResult",
    "UserError",
    "check_data",
    "clear_packs",
    "convert_weights",
    "data_statistics",
    "demo",
    "describe_model",
    "doctor",
    "evaluate",
    "features",
    "fix_data",
    "get_data",
    "gradcam",
    "label_space",
    "list_labels",
    "list_models",
    "list_packs",
    "make_streets",
    "map_labels",
    "pack_data",
    "predict",
    "receptive_field",
    "resume",
    "show_data",
    "split_data",
    "summary",
    "train",
    "write_report",
]
