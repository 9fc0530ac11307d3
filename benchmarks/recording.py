"""Where results go, what stands beside every measurement, where shared data lies, and how a benchmark says that it skips."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results"
SKIPPED = 77
"""Exit code of a benchmark that lacks its data or a package."""


def options_of(description: str | None, name: str, **numbers: int) -> argparse.ArgumentParser:
    """A parser with --out and an option for each number."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in numbers.items():
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="file of the result")
    return parser


def shared_data() -> Path:
    """Folder of shared data sets: SEGWRIGHT_SHARED_DATA, or the one beside the project."""
    return Path(os.environ.get("SEGWRIGHT_SHARED_DATA", PROJECT.parent / "shared" / "data"))


def need_camvid(root: Path | None = None) -> Path:
    """The folder of CamVid; the benchmark is skipped where there is none."""
    folder = shared_data() / "camvid" if root is None else root
    if not (folder / "train").is_dir():
        skip(f"CamVid is not in {folder}: set SEGWRIGHT_SHARED_DATA to the folder above camvid/, which holds train/ …")
    return folder


def skip(why: str) -> NoReturn:
    """End this benchmark without a result. why: what is missing and how to get it."""
    print(f"skipped: {why}", file=sys.stderr)
    sys.exit(SKIPPED)


def record(out: Path, what: str, found: Mapping[str, Any]) -> None:
    """Write a result with machine, versions, date and load. what: one line for people."""
    from segwright.files import write_json
    from segwright.runs.environment import environment

    facts = {
        "what": what,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, facts | dict(found))
    print(f"wrote {out}")
