"""`make bench`: what it runs exists, takes the options it is given, and says clearly what it skips."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.recording import PROJECT, SKIPPED
from benchmarks.suite import LONG, SHORT, Part

FOLDER = PROJECT / "benchmarks"


def start(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, env=os.environ | variables)


@pytest.mark.parametrize("name", [*(part.name for part in SHORT), *LONG])
def test_every_benchmark_has_a_file_that_says_what_it_measures(name: str) -> None:
    module = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    about = ast.get_docstring(module) or ""
    assert f"python -m benchmarks.{name}" in about
    assert "--out" in (FOLDER / f"{name}.py").read_text(encoding="utf-8") or "options_of" in ast.dump(module)


def test_every_benchmark_is_in_the_suite_or_among_the_long_ones() -> None:
    runs = {file.stem for file in FOLDER.glob("*.py") if '__name__ == "__main__"' in file.read_text(encoding="utf-8")}
    assert runs - {"__main__", "check", "page", "plain_stack", "ship"} == {*(part.name for part in SHORT), *LONG}


def test_an_unknown_name_is_refused() -> None:
    found = start("benchmarks", "loding")
    assert found.returncode == 2
    assert "loding" in found.stderr
    assert "loading" in found.stderr


def test_without_the_data_a_benchmark_is_skipped_and_says_why(tmp_path: Path) -> None:
    found = start("benchmarks.loop", "--out", str(tmp_path / "loop.json"), SEGWRIGHT_SHARED_DATA=str(tmp_path))
    assert found.returncode == SKIPPED
    assert "SEGWRIGHT_SHARED_DATA" in found.stderr
    assert not (tmp_path / "loop.json").exists()


@pytest.mark.slow
def test_some_run_whole_and_write_what_they_found(tmp_path: Path) -> None:
    found = start(
        "benchmarks", "limits", "loop", "growth", "--quick", "--out", str(tmp_path), SEGWRIGHT_SHARED_DATA=str(tmp_path)
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "'status': 'skipped'" in found.stdout
    for name in ("limits", "growth"):
        content = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        assert {"what", "date", "environment", "load_average", "rounds"} <= set(content)
    assert content["axes"]["pictures"]["statistics"]["at"] == [100, 1000]


@pytest.mark.slow
@pytest.mark.parametrize("part", SHORT, ids=lambda part: part.name)
def test_each_takes_the_options_of_the_suite(part: Part) -> None:
    shown = start(f"benchmarks.{part.name}", "--help")
    assert shown.returncode == 0, shown.stderr
    wanted = [word for word in (*part.short, *part.quick) if word.startswith("--")]
    assert all(option in shown.stdout for option in (*wanted, "--out"))
