"""Has anything become slower? Compares the ratios of two sets of results, never seconds, so machines may differ.

python -m benchmarks.check [BEFORE] [AFTER] [--tolerance 0.15]

BEFORE and AFTER are folders of results; without them the results of the last commit (git's HEAD) and benchmarks/results.
A ratio is worse when its median has lost more than the tolerance and the two intervals do not meet; one of a single round
has no interval and is left open. Growth is worse when
an exponent was at most 1.15 and is above that now, by 0.15 or more, or when memory is flat no longer.
Exits with 1 when something is worse, with 2 when there is nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.growth import LINEAR
from benchmarks.recording import PROJECT, RESULTS
from benchmarks.targets import Content, load_results, lower_is_better, ratios

NOISE = 0.15


@dataclass(frozen=True, kw_only=True)
class Change:
    """One figure before and after. gain: times better than before; None for growth."""

    name: str
    before: str
    after: str
    gain: float | None
    verdict: str


def committed() -> dict[str, Content]:
    """The results that git's HEAD holds."""
    place = RESULTS.relative_to(PROJECT).as_posix()

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"git {' '.join(words)} failed: {done.stderr.strip()}\nName two folders of results instead.")
        return done.stdout

    names = [name for name in git("ls-tree", "--name-only", f"HEAD:{place}").split() if name.endswith(".json")]
    return {Path(name).stem: json.loads(git("show", f"HEAD:{place}/{name}")) for name in names}


def compare(before: Mapping[str, Content], after: Mapping[str, Content], tolerance: float) -> list[Change]:
    """Every ratio and exponent that both have."""
    changes = []
    for file in sorted(set(before) & set(after)):
        old = dict(ratios(before[file]))
        for path, new in ratios(after[file]):
            if path in old:
                changes.append(_change(file, path, old[path], new, tolerance))
    return changes + _growth(before.get("growth", {}), after.get("growth", {}))


def _change(
    file: str, path: tuple[str, ...], old: Mapping[str, float], new: Mapping[str, float], tolerance: float
) -> Change:
    gain = old["median"] / new["median"] if lower_is_better(path) else new["median"] / old["median"]
    apart = new["low"] > old["high"] or new["high"] < old["low"]
    verdict = "same"
    if any(one["low"] == one["high"] for one in (old, new)):
        verdict = "one round"
    elif apart and gain < 1 / (1 + tolerance):
        verdict = "worse"
    elif apart and gain > 1 + tolerance:
        verdict = "better"
    name = f"{file}: {' · '.join(part for part in path if part != 'results')}"
    return Change(name=name, before=_shown(old), after=_shown(new), gain=gain, verdict=verdict)


def _growth(old: Content, new: Content) -> list[Change]:
    changes = []
    for axis, jobs in new.get("axes", {}).items():
        for job, found in jobs.items():
            was = old.get("axes", {}).get(axis, {}).get(job)
            if was is None:
                continue
            steeper = found["exponent"] > LINEAR >= was["exponent"] and found["exponent"] - was["exponent"] >= NOISE
            worse = steeper or (was.get("flat", False) and not found["flat"])
            exponents = [
                f"exponent {one['exponent']}{'' if one.get('flat', True) else ', memory grows'}" for one in (was, found)
            ]
            changes.append(
                Change(
                    name=f"growth: {job} over {axis}",
                    before=exponents[0],
                    after=exponents[1],
                    gain=None,
                    verdict="worse" if worse else "same",
                )
            )
    return changes


def _shown(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, nargs="?", help="folder of results; the last commit's without it")
    parser.add_argument("after", type=Path, nargs="?", default=RESULTS, help="folder of results; benchmarks/results")
    parser.add_argument("--tolerance", type=float, default=0.15, help="share that a median may lose; 0.15")
    options = parser.parse_args()
    for folder in (options.before, options.after):
        if folder is not None and not folder.is_dir():
            parser.error(f"{folder} is no folder")
    before = committed() if options.before is None else load_results(options.before)
    changes = compare(before, load_results(options.after), options.tolerance)
    if not changes:
        print("nothing to compare: no benchmark has results on both sides", file=sys.stderr)
        sys.exit(2)
    table = Table("figure", "before", "after", "times better", "")
    for one in sorted(changes, key=lambda change: (change.verdict != "worse", change.name)):
        style = {"worse": "red", "better": "green"}.get(one.verdict)
        gain = "" if one.gain is None else f"{one.gain:.2f}"
        table.add_row(one.name, one.before, one.after, gain, one.verdict, style=style)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    worse = sum(one.verdict == "worse" for one in changes)
    print(f"{worse} of {len(changes)} figures are worse")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
