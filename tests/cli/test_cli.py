"""The command line as a user meets it: verbs, exit codes, messages, and a folder trained without a recipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segwright
from segwright import api, cli
from segwright.recipe import load_recipe

from ..training.tiny import write_pictures, write_recipe

VERBS = ["demo", "train", "evaluate", "predict", "report", "models", "summary", "recipes", "doctor"]
QUICK = ["training.epochs=2", "training.precision=fp32", "training.memory_format=channels_last", "training.val_every=1"]


def run(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `segwright ARGUMENTS`, in this process."""
    code = 0
    try:
        cli.main([str(a) for a in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on tiny pictures, trained without a recipe."""
    folder = tmp_path_factory.mktemp("cli")
    write_pictures(folder / "shapes")
    result = segwright.train(folder / "shapes", [*QUICK, "augmentation.size=64"], runs=folder / "runs", name="r")
    return result.path


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(verb, "--help", capsys=capsys)
    assert code == 0
    assert "Example" in out
    assert f"segwright {verb}" in out


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["train"], 2, "what to train is missing"),
        (["train", "camvid-cpux"], 2, "Did you mean 'camvid-cpu'"),
        (["train", "camvid-cpu"], 2, "data.root"),
        (["train", "camvid-cpu", "data.root=/nowhere/at/all"], 2, "/nowhere/at/all"),
        (["train", "--resume", "runs/none"], 2, "no run 'runs/none'"),
        (["train", "camvid-cpu", "--resume", "x"], 2, "takes only KEY=VALUE with --force"),
        (["train", "camvid-cpu", "--force"], 2, "--force goes with --resume"),
        (["evaluate", "none.safetensors"], 2, "does not exist"),
        (["predict", "picture.jpg"], 2, "needs a model"),
        (["predict", "none", "picture.jpg"], 2, "no run 'none'"),
        (["summary", "unett"], 2, "unett"),
        (["summary", "unet", "--size", "big"], 2, "HEIGHTxWIDTH"),
        (["recipes", "demo"], 2, "Shipped:"),
        (["summary", "fast_scn"], 2, "Did you mean 'fast_scnn'"),
        (["trian"], 2, ""),
    ],
)
def test_mistakes_get_one_clear_message_and_exit_code_2(
    arguments: list[str],
    code: int,
    part: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*arguments, capsys=capsys)
    assert found == code, err
    assert part in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_told_from_a_mistake(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(api, "doctor", broken)
    code, _, err = run("doctor", capsys=capsys)
    assert (code, "defect of Segwright" in err, "Traceback" in err) == (1, True, False)
    code, _, err = run("doctor", "--debug", capsys=capsys)
    assert (code, "Traceback" in err) == (1, True)


def test_a_folder_trains_without_a_recipe_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "shapes")
    (tmp_path / "shapes" / "classes.txt").write_text("ground\nred box\ngreen box\n")
    code, out, err = run(
        "train", tmp_path / "shapes", *QUICK, "--runs", tmp_path / "runs", "--name", "r", capsys=capsys
    )
    assert code == 0, err
    for part in (
        "red box",
        "10 pictures to train on, 4 to validate",
        "recipe made for this data",
        "command line",
        "report",
    ):
        assert part in out
    text = (tmp_path / "runs" / "r" / "recipe.yaml").read_text()
    assert "# command line" in text
    assert "pictures to train on" in text
    recipe = load_recipe(tmp_path / "runs" / "r" / "recipe.yaml").recipe
    assert recipe.training.epochs == 2
    assert recipe.data.labels["classes"][1]["name"] == "red box"  # type: ignore[index]


def bad_masks(root: Path, kind: str) -> None:
    """Spoil two masks of a tiny data set in the way that `kind` says."""
    for name in ("train_01.png", "train_04.png"):
        path = root / "train" / "masks" / name
        mask = np.asarray(Image.open(path))
        if kind == "truncated":
            path.write_bytes(path.read_bytes()[:60])
        elif kind == "missing":
            path.unlink()
        elif kind == "wrong size":
            Image.fromarray(mask[:-3]).save(path)
        elif kind == "swapped":
            Image.fromarray(mask.T.copy()).save(path)
        elif kind == "rgb":
            Image.fromarray(np.stack([mask * 90] * 3, -1)).save(path)
        elif kind == "jpeg":
            Image.fromarray(mask * 100).save(path, format="JPEG")
        elif kind == "empty file":
            path.write_bytes(b"")
        elif kind == "truncated image":
            image = root / "train" / "images" / name
            image.write_bytes(image.read_bytes()[:200])


@pytest.mark.parametrize(
    "kind", ["truncated", "missing", "wrong size", "swapped", "rgb", "jpeg", "empty file", "truncated image"]
)
@pytest.mark.parametrize("way", ["folder", "recipe"])
def test_bad_data_is_listed_whole_with_exit_code_3(
    kind: str, way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_pictures(tmp_path / "data")
    bad_masks(root, kind)
    source = root if way == "folder" else write_recipe(tmp_path, root)
    code, out, err = run("train", source, "--runs", tmp_path / "runs", capsys=capsys)
    assert code == 3, out + err
    assert "Traceback" not in out + err
    assert "train_01" in err
    assert "train_04" in err, "all bad files are named, not only the first"
    assert not (tmp_path / "runs").exists()


def test_values_outside_the_label_space_name_their_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_pictures(tmp_path / "data")
    path = root / "train" / "masks" / "train_02.png"
    Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8) * 255).save(path)
    code, _, err = run("train", write_recipe(tmp_path, root), "--runs", tmp_path / "runs", capsys=capsys)
    assert code == 3
    assert "black and white (0 and 255)" in err


def test_evaluate_predict_and_report_work_on_a_run_and_on_its_file(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run("evaluate", trained, "--json", capsys=capsys)
    assert code == 0, err
    scored = json.loads(out)
    assert scored["protocol"] == "pooled"
    model = trained / "checkpoints" / "best.safetensors"
    shutil.copy(model, tmp_path / "model.safetensors")
    data = trained.parent.parent / "shapes"
    code, out, err = run(
        *("evaluate", tmp_path / "model.safetensors", "data.name=paired_folders", f"data.root={data}", "--json"),
        capsys=capsys,
    )
    assert code == 0, err
    assert json.loads(out)["miou"] == scored["miou"]

    pictures = data / "val" / "images"
    code, out, err = run("predict", trained, pictures, "-o", tmp_path / "out", capsys=capsys)
    assert code == 0, err
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    masks = [f"val_0{i}_{k}.png" for i in range(4) for k in ("overlay", "color", "ids")]
    assert written == sorted([*masks, "predictions.jsonl"])
    ids = np.asarray(Image.open(tmp_path / "out" / "val_00_ids.png"))
    color = Image.open(tmp_path / "out" / "val_00_color.png")
    assert (ids.shape, color.mode) == ((48, 64), "P")
    assert np.array_equal(ids, np.asarray(color))

    (trained / "report.html").unlink()
    code, out, err = run("report", trained, capsys=capsys)
    assert code == 0, err
    assert (trained / "report.html").stat().st_size > 50_000
    code, _, err = run("report", trained, "--budget-mb", "0.2", capsys=capsys)
    assert (code, "allowed are 1 to 1000 megabytes" in err) == (2, True)

    code, out, err = run("card", trained, capsys=capsys)
    assert code == 0, err
    assert out == (trained / "MODEL_CARD.md").read_text()
    code, _, err = run("predict", trained, pictures, "-o", tmp_path / "safe", "--palette", "safe", capsys=capsys)
    assert code == 0, err
    safe = Image.open(tmp_path / "safe" / "val_00_color.png")
    assert safe.getpalette()[:3] == [86, 180, 233]  # type: ignore[index]
    assert np.array_equal(ids, np.asarray(safe))


def test_evaluate_refuses_what_is_fixed_in_the_model_and_names_what_is_missing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run("evaluate", trained, "model.name=unet", capsys=capsys)
    assert (code, "fixed in the model" in err) == (2, True)
    shutil.copy(trained / "checkpoints" / "best.safetensors", tmp_path / "m.safetensors")
    code, _, err = run("evaluate", tmp_path / "m.safetensors", capsys=capsys)
    assert (code, "data.name=paired_folders data.root=DIR" in err) == (2, True)
    code, out, _ = run("evaluate", trained, "--protocol", "camvid", "--json", capsys=capsys)
    assert (code, json.loads(out)["protocol"]) == (0, "camvid")
    kept = json.loads((trained / "evaluation" / "val.json").read_text())
    assert kept["protocol"] == "pooled", "another protocol must not replace what the report shows"


def test_a_run_is_read_from_any_folder_and_its_recipe_trains_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(Path("shapes"))
    code, _, err = run("train", "shapes", *QUICK, "augmentation.size=64", "--name", "first", capsys=capsys)
    assert code == 0, err
    code, _, err = run("train", "first", "training.epochs=1", "--name", "second", capsys=capsys)
    assert code == 0, err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run("evaluate", tmp_path / "runs" / "second", "--json", capsys=capsys)
    assert code == 0, err
    for name in ("latest", "a/b"):
        code, _, err = run("train", tmp_path / "shapes", *QUICK, "--name", name, capsys=capsys)
        assert (code, "cannot name a run" in err) == (2, True)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--version", capsys=capsys)
    assert (code, out.strip()) == (0, f"segwright {segwright.__version__}")


def test_scenes_of_two_seeds_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--train", "1", "--val", "1", "--size", "64x64"]
    assert run("data", "streets", tmp_path / "s", *options, capsys=capsys)[0] == 0
    assert run("data", "streets", tmp_path / "s", *options, capsys=capsys)[0] == 0
    code, _, err = run("data", "streets", tmp_path / "s", *options, "--seed", "1", capsys=capsys)
    assert (code, "scenes of seed 0" in err) == (2, True)


def test_several_models_predict_side_by_side(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(trained / "checkpoints" / "best.safetensors", tmp_path / "other.safetensors")
    pictures = tmp_path / "pictures"
    shutil.copytree(trained.parent.parent / "shapes" / "val" / "images", pictures)
    out = pictures / "predicted"  # inside the pictures: results are not taken for pictures
    code, _, err = run(
        "predict", trained, tmp_path / "other.safetensors", pictures, "-o", out, "--write", "ids", capsys=capsys
    )
    assert code == 0, err
    assert sorted(p.name for p in out.iterdir()) == ["other", "r"]
    assert len(list((out / "other").iterdir())) == len(list((out / "r").iterdir())) == 5  # and the record


def test_models_and_summary_state_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("models", "--classes", "1", "--json", capsys=capsys)
    facts = {f["name"]: f for f in json.loads(out)}
    assert code == 0
    assert facts["unet"]["parameters"] == 31_043_521
    code, out, _ = run("summary", "unet", "--classes", "1", "--size", "64x64", capsys=capsys)
    assert code == 0
    assert "31,043,521" in out


def test_recipes_are_listed_and_shown_with_origins(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("recipes", capsys=capsys)
    assert code == 0
    assert "camvid-cpu" in out
    code, out, _ = run("recipes", "camvid-cpu", "epochs=3", capsys=capsys)
    assert code == 0
    assert "epochs: 3" in out
    assert "# command line" in out
    assert "# camvid-cpu.yaml:" in out


def test_doctor_runs_a_real_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("doctor", "--runs", tmp_path, "--json", capsys=capsys)
    findings = {f["name"]: f for f in json.loads(out)}
    assert code == 0
    assert findings["training step"]["status"] == "OK"
    assert findings["writing"]["status"] == "OK"


def test_scenes_are_written_as_cityscapes_and_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(
        *("data", "streets", tmp_path / "city", "--train", "3", "--val", "2", "--size", "64x128"), capsys=capsys
    )
    assert code == 0, err
    from segwright.data import DATASETS
    from segwright.labels import load_label_space

    space = load_label_space("cityscapes19")
    from_disk = DATASETS["cityscapes"](tmp_path / "city", "train", space)
    drawn = DATASETS["streets"](None, "train", space, count={"train": 3}, size=(64, 128), seed=0)
    by_name = {n.rsplit("/")[-1].removesuffix("_leftImg8bit"): i for i, n in enumerate(from_disk.names)}
    for index, name in enumerate(drawn.names):
        one, two = drawn[index], from_disk[by_name[name.rsplit("/")[-1]]]
        assert np.array_equal(one.rgb, two.rgb)
        assert np.array_equal(one.labels, two.labels)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_installed_command_needs_no_terminal_and_no_network(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data")
    recipe = write_recipe(tmp_path, tmp_path / "data")
    blocked = (
        "import socket\n"
        "def refuse(*a, **k): raise OSError('network is off in this test')\n"
        "socket.socket.connect = refuse\n"
        "from segwright.cli import main\n"
        f"main(['train', {str(recipe)!r}, '--runs', {str(tmp_path / 'runs')!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, text=True, check=False, env=os.environ | {"TERM": "dumb"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mIoU" in done.stdout


def test_a_folder_with_bad_files_trains_when_they_are_to_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "shapes")
    (tmp_path / "shapes" / "train" / "masks" / "train_00.png").write_bytes(b"")
    settings = (tmp_path / "shapes", "training.epochs=1", "model.name=unet", "model.args={width: 4, depth: 2}")
    code, _, err = run("train", *settings, "--runs", tmp_path / "runs", capsys=capsys)
    assert (code, "train_00.png" in err) == (3, True)
    code, out, _ = run("train", *settings, "--skip-bad", "--runs", tmp_path / "runs", capsys=capsys)
    assert code == 0
    assert "1 bad files left out" in out
