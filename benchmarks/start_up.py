"""How long a user waits before anything happens: `segwright --help` and `import segwright` beside a bare `python -c pass`
and beside `import torch`, alternating, whole processes.

python -m benchmarks.start_up [--rounds 7]   writes benchmarks/results/start_up.json
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.recording import RESULTS
from benchmarks.rounds import ratio

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import segwright": [sys.executable, "-c", "import segwright"],
    "segwright --help": [sys.executable, "-m", "segwright.cli", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def main() -> None:
    from segwright.files import write_json
    from segwright.runs.environment import environment

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS / "start_up.json")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: round(statistics.median(times[1:]), 3) for name, times in seconds.items()}
    write_json(
        options.out,
        {
            "what": "seconds until the command ends, whole process, median",
            "rounds": options.rounds,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "median_s": medians,
            "ratio_help_to_import_torch": ratio(seconds["segwright --help"][1:], seconds["import torch"][1:]),
        },
    )
    print(medians)


if __name__ == "__main__":
    main()
