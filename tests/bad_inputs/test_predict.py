"""B1 on the way through `segwright predict`: odd pictures are predicted at their size, bad ones named, none stops the rest."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segwright import cli
from segwright.models.weights import save_segmenter

from ..export.models import small_model
from .case import Case
from .catalogue import IMAGES

REFUSED = [c for c in IMAGES if c.expect == "refused"]
ACCEPTED = [c for c in IMAGES if c.expect == "accepted"]


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Every case in a folder of its own, and what a prediction of the whole folder wrote."""
    folder = tmp_path_factory.mktemp("hostile")
    for case in IMAGES:
        made = case.make(folder / "made" / case.name)
        (folder / "in" / case.name).mkdir(parents=True)
        shutil.move(made, folder / "in" / case.name / made.name)
    save_segmenter(small_model(), folder / "model.safetensors")
    return folder / "in", folder / "out"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_bad_pictures_are_named_and_counted(predicted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = predicted
    assert len(IMAGES) >= 60
    command = [
        "predict",
        source.parent / "model.safetensors",
        source,
        "-o",
        out,
        "--batch",
        3,
        "--write",
        "ids,confidence",
    ]
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(word) for word in command])
    printed = capsys.readouterr()
    assert stopped.value.code == 3
    assert f"{len(REFUSED)} of {len(IMAGES)} pictures could not be predicted" in printed.err
    assert "Traceback" not in printed.out + printed.err
    record = {
        line["source"]: line for line in map(json.loads, (out / "predictions.jsonl").read_text().splitlines()[1:])
    }
    faults = {Path(name).parts[0]: line["error"] for name, line in record.items() if "error" in line}
    assert set(faults) == {case.name for case in REFUSED}
    for case in REFUSED:
        assert re.search(case.words, faults[case.name]), faults[case.name]
    for case in ACCEPTED:
        check(case, out)
    assert len([p for p in out.rglob("*") if p.suffix == ".png"]) == 2 * len(ACCEPTED)


def check(case: Case, out: Path) -> None:
    assert case.truth is not None
    for kind in ("ids", "confidence"):
        [path] = (out / case.name).glob(f"*_{kind}.png")
        with Image.open(path) as image:
            assert np.asarray(image).shape == case.truth().shape[:2], case.name
