"""What `import segwright` promises: these names, and nothing removed by accident."""

from __future__ import annotations

import inspect
from pathlib import Path

import segwright
from segwright import api, cli

VERBS = {
    *("demo", "train", "resume", "evaluate", "explain", "predict", "write_report", "list_models"),
    *("receptive_field", "features", "gradcam", "describe_model", "shipped_models"),
    *("summary", "doctor", "make_streets", "list_labels", "label_space", "map_labels"),
    *("get_data", "data_statistics", "split_data"),
    *("check_data", "fix_data", "show_data"),
    *("find_label_errors", "apply_label_marks"),
    *("pack_data", "list_packs", "clear_packs"),
    "convert_weights",
    "export_model",
    "bench",
    "calibrate",
    "tune_crf",
    *("dry_run", "lr_find", "overfit_one_batch"),
    *("sweep", "resume_sweep"),
    *("finetune", "compare_transfers"),
    *("crossval", "resume_crossval", "soup"),
    "compare",
    "robustness",
    "serve",
    "segment_video",
    "card",
    *("submit", "check_submission"),
}
GROUPED = {
    "make_streets",
    "get_data",
    "data_statistics",
    "split_data",
    "check_data",
    "fix_data",
    "show_data",
    "find_label_errors",
    "apply_label_marks",
    "pack_data",
    "list_packs",
    "clear_packs",
    "list_labels",
    "label_space",
    "map_labels",
    "list_models",
    "describe_model",
    "shipped_models",
}  # `segwright data …`, `segwright labels …`, `segwright models …`
TYPES = {"TrainResult", "SegwrightError", "UserError", "DataError", "IGNORE"}


def test_the_public_names_are_these() -> None:
    assert set(segwright.__all__) == VERBS | TYPES
    assert all(hasattr(segwright, name) for name in segwright.__all__)
    assert segwright.IGNORE == 255


def test_every_verb_is_documented_and_typed() -> None:
    for name in VERBS:
        verb = getattr(api, name)
        assert verb.__doc__, name
        signature = inspect.signature(verb)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values()), name


def test_command_line_and_python_have_the_same_verbs() -> None:
    commands = {c.callback.__name__ for c in cli.app.registered_commands if c.callback is not None}
    renamed = {
        "write_report": "report",
        "convert_weights": "convert",
        "export_model": "export",
        "segment_video": "video",
    }  # sub-packages have the short names
    assert commands == {
        renamed.get(v, v)
        for v in VERBS
        - {
            "explain",
            "check_submission",
            "dry_run",
            "overfit_one_batch",
            "resume",
            "compare_transfers",
            "resume_sweep",
            "resume_crossval",
        }
        - GROUPED
    } | {"recipes"}


def test_no_public_name_is_shadowed_by_a_sub_package() -> None:
    folders = {p.stem for p in Path(segwright.__file__).parent.iterdir()}
    assert not folders & set(segwright.__all__)


def test_exit_codes_tell_user_from_data() -> None:
    assert segwright.UserError.exit_code == 2
    assert segwright.DataError.exit_code == 3
