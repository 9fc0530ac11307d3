"""`make bench`: the short benchmarks, one after the other. Each also runs alone: python -m benchmarks.NAME --help."""

from __future__ import annotations

import subprocess
import sys

SHORT = ("confusion", "loading", "start_up")
LONG = ("camvid_cpu",)  # an hour: run it by name

if __name__ == "__main__":
    for name in SHORT:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    print(f"long ones, to be run by name: {', '.join(f'python -m benchmarks.{n}' for n in LONG)}")
