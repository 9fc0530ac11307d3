"""`segwright data check` and `data fix` as real processes: output, files and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from .small_set import change, mask, read, same_mask_as, small_set, write_space


def segwright(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "segwright.cli", "data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_json_and_exit_codes(tmp_path: Path) -> None:
    root = small_set(tmp_path / "set")
    sound = segwright("check", root, "--json", "--strict")
    assert (sound.returncode, json.loads(sound.stdout)["findings"]) == (0, [])

    same_mask_as(root, 2, 4)
    warned = segwright("check", root, "--json")
    assert warned.returncode == 0
    assert [f["code"] for f in json.loads(warned.stdout)["findings"]] == ["duplicate-mask"]
    assert segwright("check", root, "--strict").returncode == 3

    mask(root).write_bytes(b"")
    failed = segwright("check", root, "--json")
    assert failed.returncode == 3
    content = json.loads(failed.stdout)
    assert content["counts"] == {"error": 1, "warning": 1, "note": 0}
    assert content["findings"][0]["files"] == [str(mask(root))]
    assert content["splits"]["train"]["readable"] == 5


def test_table_and_page(tmp_path: Path) -> None:
    root = small_set(tmp_path / "set")
    mask(root).write_bytes(b"")
    done = segwright("check", root, "--report", tmp_path / "page.html")
    assert done.returncode == 3
    assert "unreadable-mask" in done.stdout
    assert "1 error" in done.stdout
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_wrong_folder_is_the_users_mistake(tmp_path: Path) -> None:
    done = segwright("check", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert segwright("fix", tmp_path, "--map", "255", "-o", tmp_path / "out").returncode == 2


def test_the_fix_that_check_prints_mends_the_data(tmp_path: Path) -> None:
    root = small_set(tmp_path / "set")
    write_space(root, (0, 1), void=None)
    change(root, lambda m: np.where(m == 1, np.uint8(255), np.uint8(0)))
    printed = json.loads(segwright("check", root, "--json").stdout)["findings"][0]["fix"].split()
    assert printed[:3] == ["segwright", "data", "fix"]
    done = segwright(*printed[2:], "--with-images", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["check"]["counts"]["error"] == 0
    out = Path(printed[-1])
    assert segwright("check", out).returncode == 0
    np.testing.assert_array_equal(read(out / "train/masks/p1.png"), read(mask(root)) // 255)
