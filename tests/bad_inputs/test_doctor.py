"""Every bad input through the doctor, and some through the real command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from segwright.data.check import CODES, CheckResult, check_data

from .case import Case, space_of
from .catalogue import CASES, PAIRING

LEAST = {"B1": 70, "B2": 60, "B3": 30, "B4": 25}
HARMLESS = {"exif-unclear", "constant-mask"}
"""Warnings that every turned picture and every mask of one pixel gets."""


def test_there_are_enough_and_no_two_alike() -> None:
    counts = Counter(c.group for c in CASES)
    assert all(counts[group] >= least for group, least in LEAST.items()), counts
    assert len({(c.group, c.name) for c in CASES}) == len(CASES)
    assert {code for c in CASES for codes in c.codes for code in codes.split("|")} <= CODES.keys()


def checked(case: Case, root: Path) -> CheckResult:
    known = any((root / folder).is_dir() for folder in ("trainannot", "gtFine"))  # these bring their own label space
    return check_data(root, labels=None if known else case.labels, workers=1)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.group}-{c.name}")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
@pytest.mark.timeout(60)
def test_the_doctor_finds_each_and_nothing_else(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    result = checked(case, tmp_path)
    found = {f.code for f in result.findings}
    for wanted in case.codes:
        assert found & set(wanted.split("|")), result.findings
    text = "\n".join(f"{f.message} {f.fix}" for f in result.findings)
    json.dumps(result.to_dict()).encode()
    if case.expect == "refused":
        assert result.errors
        assert result.exit_code() == 3
        assert re.search(case.words, text) or case.group == "B2", text
        assert all(f.fix for f in result.findings)
        return
    assert not result.errors
    expected = {code for codes in case.codes for code in codes.split("|")} | HARMLESS
    assert {f.code for f in result.findings if f.severity == "warning" and path in f.files} <= expected
    if case in PAIRING and case.codes:
        assert re.search(case.words, text), text


SAMPLE = {"png-cut-0.5", "off-by-one", "many-missing-everywhere", "pipe-as-mask", "not-utf-8", "markup", "newline"}
AS_TABLE = {"markup", "newline", "not-utf-8", "off-by-one"}


@pytest.mark.parametrize("case", [c for c in CASES if c.name in SAMPLE], ids=lambda c: c.name)
def test_the_command_line_says_so(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path)
    (tmp_path / "labels.yaml").write_text(json.dumps(space_of(case).to_dict()))
    options = [] if case.name in AS_TABLE else ["--json"]
    command = [sys.executable, "-m", "segwright.cli", "data", "check", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr
    assert done.returncode == (3 if case.expect == "refused" else 0), done.stdout + done.stderr
    if options:
        assert isinstance(json.loads(done.stdout), dict)
    elif case.expect == "refused":
        assert re.search(case.words, " ".join(done.stdout.split())), done.stdout
