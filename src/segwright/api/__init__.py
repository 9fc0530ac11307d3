"""The verbs of Segwright as plain functions with result objects. The command line calls these and nothing else.

Each function imports what it needs when it is called, so that `import segwright` stays light.
"""

from segwright.api.before import dry_run, lr_find, overfit_one_batch
from segwright.api.bench import bench
from segwright.api.calibrate import calibrate
from segwright.api.cards import card
from segwright.api.check import check_data, fix_data
from segwright.api.compare import compare
from segwright.api.convert import convert_weights
from segwright.api.crf import tune_crf
from segwright.api.explain import explain
from segwright.api.export import ExportResult, export_model
from segwright.api.finetune import compare_transfers, finetune
from segwright.api.folds import crossval, resume_crossval, soup
from segwright.api.get import DATASETS_FOLDER, get_data
from segwright.api.label_errors import apply_label_marks, find_label_errors
from segwright.api.labels import label_space, list_labels, map_labels
from segwright.api.looking import features, gradcam, receptive_field, summary
from segwright.api.models import describe_model, list_models, shipped_models
from segwright.api.pack import clear_packs, list_packs, pack_data
from segwright.api.predicting import predict
from segwright.api.robustness import robustness
from segwright.api.serving import serve
from segwright.api.show import show_data
from segwright.api.showing import WIDTH, new_console
from segwright.api.splits import split_data
from segwright.api.statistics import data_statistics
from segwright.api.submit import check_submission, submit
from segwright.api.sweeps import resume_sweep, sweep
from segwright.api.verbs import (
    RUNS,
    TrainResult,
    demo,
    doctor,
    evaluate,
    make_streets,
    resume,
    train,
    write_report,
)
from segwright.api.video import segment_video

__all__ = [
    "DATASETS_FOLDER",
    "RUNS",
    "WIDTH",
    "ExportResult",
    "TrainResult",
    "apply_label_marks",
    "bench",
    "calibrate",
    "card",
    "check_data",
    "check_submission",
    "clear_packs",
    "compare",
    "compare_transfers",
    "convert_weights",
    "crossval",
    "data_statistics",
    "demo",
    "describe_model",
    "doctor",
    "dry_run",
    "evaluate",
    "explain",
    "export_model",
    "features",
    "find_label_errors",
    "finetune",
    "fix_data",
    "get_data",
    "gradcam",
    "label_space",
    "list_labels",
    "list_models",
    "list_packs",
    "lr_find",
    "make_streets",
    "map_labels",
    "new_console",
    "overfit_one_batch",
    "pack_data",
    "predict",
    "receptive_field",
    "resume",
    "resume_crossval",
    "resume_sweep",
    "robustness",
    "segment_video",
    "serve",
    "shipped_models",
    "show_data",
    "soup",
    "split_data",
    "submit",
    "summary",
    "sweep",
    "train",
    "tune_crf",
    "write_report",
]
