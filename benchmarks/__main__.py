"""`make bench`: every benchmark that fits into half an hour on two cores, then docs/performance.md.

python -m benchmarks [NAME ...] [--quick] [--out FOLDER]

Without names: all but the long ones, with fewer rounds each (their JSON says how many). With names: these, the long ones
among them, with all their rounds. Each also runs alone: python -m benchmarks.NAME --help.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.recording import PROJECT, RESULTS, record
from benchmarks.suite import LONG, SHORT, Part, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {part.name: part for part in (*SHORT, *map(Part, LONG))}
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="the least that shows that all run; results go to build/")
    parser.add_argument("--out", type=Path, help="folder of the results; benchmarks/results, and then the page follows")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    if options.quick and (long := [name for name in options.names if name in LONG]):
        parser.error(f"there is no quick form of {', '.join(long)}: run it without --quick")
    folder = (options.out or (PROJECT / "build" / "benchmarks" if options.quick else RESULTS)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    ended: dict[str, dict[str, Any]] = {}
    for part in [known[name] for name in options.names] or SHORT:
        print(f"== {part.name}", flush=True)
        rounds = part.quick if options.quick else () if options.names else part.short
        ended[part.name] = run(part, rounds, folder)
        print(f"== {part.name}: {ended[part.name]}", flush=True)
    if not options.names:
        record(folder / "suite.json", "what `make bench` ran", {"quick": options.quick, "parts": ended})
        print("run by name only: " + ", ".join(f"{name} ({time})" for name, time in LONG.items()))
    if folder == RESULTS:
        from benchmarks.page import write_page

        print(f"wrote {write_page()}")
    failed = [name for name, one in ended.items() if one["status"].startswith("failed")]
    print(f"{sum(one['seconds'] for one in ended.values()) / 60:.1f} minutes")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
