"""The architecture is a check, not a wish: import direction, file length, banned names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "src" / "segwright"
LAYERS = [
    *(
        "contracts",
        "files",
        "names",
        "labels",
        "recipes",
        "shipped",
        "recipe",
        "data",
        "models",
        "losses",
        "metrics",
        "build",
        "runs",
    ),
    *("inference", "training", "evaluation", "export", "report", "web", "api", "cli"),
]
BANNED = {"utils", "util", "misc", "common", "helpers", "helper", "base"}
MAX_LINES = 400
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_layers(tree: ast.AST, path: Path) -> Iterator[str]:
    """Layers of segwright that a file imports: absolute, relative and `from segwright import x`, at any depth."""
    package = ("segwright", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (start, node.module or "") if part)
            targets = [f"{module}.{a.name}" for a in node.names]
        else:
            continue
        for target in targets:
            parts = target.split(".")
            if parts[0] == "segwright" and len(parts) > 1 and parts[1] in LAYERS:
                yield parts[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    assert layer_of(path) in LAYERS, f"{path.name}: no such layer; the layout is {' '.join(LAYERS)}"
    layer = LAYERS.index(layer_of(path))
    for target in imported_layers(ast.parse(path.read_text(encoding="utf-8")), path):
        assert LAYERS.index(target) <= layer, f"{path} may not import segwright.{target}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short_and_well_named(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    assert not BANNED & {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts}


def test_the_checks_see_every_kind_of_import() -> None:
    code = "import segwright.cli\nfrom segwright import api\nfrom ..web import x\nfrom segwright.report.html import y\n"
    assert set(imported_layers(ast.parse(code), PACKAGE / "data" / "x.py")) == {"cli", "api", "web", "report"}


@pytest.mark.parametrize("command", ["import segwright", "import segwright.cli as c; c.main(['--help'])"])
def test_torch_loads_only_when_a_verb_needs_it(command: str) -> None:
    code = f"import sys\ntry:\n    {command}\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.rstrip().endswith("False"), done.stdout + done.stderr


def test_no_file_names_an_index_a_machine_path_or_unfinished_work() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.split()
    tracked = [PROJECT / p for p in listed] or [p for p in PROJECT.glob("*") if p.is_file()]
    leak = re.compile(
        "|".join(
            ["py" + "pi" + r"\.org", "python" + "hosted", r"/wo" + "rk/", r"deb\.deb" + "ian", r"npm" + r"js\.org"]
        )
    )
    unfinished = re.compile("NotImplemented" + "Error|TO" + "DO|FIX" + "ME")
    for path in tracked:
        if not path.is_file() or path.suffix in {".png", ".webp", ".jpg", ".safetensors"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not leak.search(text), f"{path}: names an index or a path of one machine ({leak.search(text)})"
        if path.suffix == ".py":
            assert not unfinished.search(text), f"{path}: looks unfinished"
