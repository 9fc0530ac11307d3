"""`segwright video`, and `predict` with a video: what is written, printed, refused; exit codes; Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("av")

import segwright
from segwright.api.video import IncompleteVideo
from segwright.contracts import UserError
from segwright.labels import load_label_space
from segwright.models import MODELS, Segmenter
from segwright.models.weights import save_segmenter
from tests.cli.test_cli import run
from tests.inference.videos import cut, frame, h264, read_video, write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random model files, a whole video with sound and one that is cut off."""
    root = tmp_path_factory.mktemp("video")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        model = Segmenter(
            MODELS["small_cnn"](11), labels=load_label_space("camvid11"), model={"name": "small_cnn", "args": {}}
        )
        save_segmenter(model, root / f"{name}.safetensors")
    h264(root / "street.mp4", 20, sound="aac")
    cut(write_video(root / "torn.mkv", 25), 0.6)
    return root


def test_two_models_make_a_grid_a_summary_and_a_plot(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = (folder / "first.safetensors", folder / "second.safetensors")
    out = tmp_path / "new" / "grid.mp4"
    code, printed, err = run(
        "video", *models, folder / "street.mp4", "-o", out, "--smooth", "0.6", "--hysteresis", "2", capsys=capsys
    )
    assert code == 0, err
    assert "flicker shown" in printed
    assert "20 frames" in printed
    assert "sound copied" in printed
    assert "licence of the weights" in printed
    pictures, _ = read_video(out)
    assert len(pictures) == 20
    told = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert [model["name"] for model in told["models"]] == ["first", "second"]
    assert (told["written"]["layout"], told["written"]["encoder"] in printed) == ("grid", True)
    for model in told["models"]:
        assert len(model["times"]) == len(model["shares"]) == 20
        assert sum(model["mean_shares"].values()) == pytest.approx(1, abs=1e-4)
        assert model["shown"]["flicker_rate"] <= model["own"]["flicker_rate"]
    with Image.open(tmp_path / "new" / "grid_shares.png") as plot:
        assert np.asarray(plot).std() > 10
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_json_is_the_summary(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("video", folder / "first.safetensors", folder / "street.mp4", "-o", tmp_path / "a.mp4", "--json")
    code, printed, err = run(*arguments, "--start", "0.2", "--end", "0.6", "--every", "2", capsys=capsys)
    assert code == 0, err
    told = json.loads(printed)
    assert told == json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (told["written"]["frames"], told["written"]["layout"]) == (5, "overlay")
    assert told["models"][0]["times"] == [0.0, 0.08, 0.16, 0.24, 0.32]


def test_a_torn_video_is_kept_told_and_an_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    code, printed, err = run("video", folder / "first.safetensors", folder / "torn.mkv", "-o", out, capsys=capsys)
    assert code == 3
    assert "cut off" in err
    assert str(out) in err
    frames = len(read_video(out)[0])
    assert f"{frames} frames" in err
    assert f"{frames} frames" in printed
    with pytest.raises(IncompleteVideo) as told:
        segwright.segment_video([folder / "first.safetensors"], folder / "torn.mkv", out)
    assert told.value.result.found.written == frames
    assert told.value.result.summary.is_file()


def test_predict_takes_videos(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, street = folder / "first.safetensors", folder / "street.mp4"
    code, _, err = run("predict", model, street, "--opacity", "0.2", capsys=capsys)
    assert code == 0, err
    assert len(read_video(tmp_path / "predictions" / "street_overlay.mp4")[0]) == 20
    code, _, err = run("predict", model, folder / "second.safetensors", street, "-o", "here.mkv", capsys=capsys)
    assert code == 0, err
    assert len(read_video(tmp_path / "here.mkv")[0]) == 20
    code, _, err = run("predict", model, street, "--abstain-below", "0.5", capsys=capsys)
    assert code == 2
    assert "--abstain-below is for pictures" in err
    with pytest.raises(UserError, match="segment_video"):
        segwright.predict([model], street, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("first.safetensors",), "needs a model and then a video"),
        (("first.safetensors", "missing.mp4"), "does not exist"),
        (("first.safetensors", "--camera", "97"), "--camera 97"),
        (("first.safetensors", "street.mp4", "--layout", "cube"), "--layout is 'cube'"),
        (("first.safetensors", "street.mp4", "--smooth", "1"), "--smooth 1"),
        (("first.safetensors", "street.mp4", "-o", "out.gif"), ".mp4, .m4v, .mov, .mkv"),
        (("first.safetensors", "second.safetensors", "street.mp4", "--layout", "overlay"), "shows one model"),
        (("first.safetensors", "street.mp4", "--labels", "camvid11", "--backend", "fast"), "--backend"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_told(
    arguments: tuple[str, ...],
    says: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    code, _, err = run("video", *arguments, capsys=capsys)
    assert code == 2, err
    assert says in err
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow  # a process of its own
def test_ctrl_c_ends_the_file_properly(folder: Path, tmp_path: Path) -> None:
    source = h264(tmp_path / "long.mp4", [frame(k, 144, 192) for k in range(40)] * 40)
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "segwright.cli", "video", folder / "first.safetensors", source, "-o", out]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "out.part.mp4"
    while not (part.is_file() and part.stat().st_size > 5000) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "holds the part until then" in err
    assert 0 < len(read_video(out)[0]) < 1600
    assert not part.exists()
