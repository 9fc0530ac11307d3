"""What this machine can do at best: copying memory, multiplying matrices, a loop of C. Other results stand beside these.

The loop of C counts a confusion matrix of 1024×2048 pixels and 19 classes, from two arrays of bytes, in four tables by
turns; it is compiled here and left out where there is no C compiler.

python -m benchmarks.limits [--rounds 9]   writes benchmarks/results/limits.json
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import numpy as np
import torch

from benchmarks.recording import options_of, record
from benchmarks.rounds import alternate

SIDE = 2048
C_LOOP = """
void count(const unsigned char *truth, const unsigned char *found, long pixels, long long *tables) {
    for (long i = 0; i < pixels; i++)
        if (truth[i] < 19 && found[i] < 19) tables[(i & 3) * 361 + truth[i] * 19 + found[i]]++;
}
"""


@cache
def copy_bytes_per_second() -> float:
    """Bytes that are read and written again a second: a 256 MB copy by torch, its usual threads."""
    source, target = torch.zeros(1 << 26), torch.empty(1 << 26)
    target.copy_(source)
    seconds = alternate({"copy": lambda: target.copy_(source)}, 5)["copy"]
    return source.numel() * 4 / statistics.median(seconds)


def products(rounds: int) -> dict[str, float]:
    """GFLOP/s of a product of two square matrices, by type."""
    operands = {
        name: torch.randn(SIDE, SIDE, dtype=dtype)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    calls: dict[str, Callable[[], Any]] = {name: (lambda a=a: a @ a) for name, a in operands.items()}
    alternate(calls, 2)
    seconds = alternate(calls, rounds)
    return {name: round(2e-9 * SIDE**3 / statistics.median(times), 1) for name, times in seconds.items()}


def c_loop(rounds: int) -> float | None:
    """Milliseconds of the loop of C; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 19, (2, 16, 32)).astype(np.uint8)
    truth, found = (np.ascontiguousarray(one.repeat(64, 0).repeat(64, 1)) for one in coarse)
    tables = np.zeros((4, 19, 19), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "count.c", Path(folder) / "count.so"
        source.write_text(C_LOOP, encoding="utf-8")
        subprocess.run([compiler, "-O3", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        count = ctypes.CDLL(str(library)).count
        places = [ctypes.c_void_p(array.ctypes.data) for array in (truth, found, tables)]
        call = lambda: count(places[0], places[1], ctypes.c_long(truth.size), places[2])  # noqa: E731
        seconds = alternate({"c": call}, rounds)["c"]
    if int(tables.sum()) != rounds * truth.size:
        raise SystemExit("the loop of C has not counted every pixel")
    return round(1000 * statistics.median(seconds), 3)


def main() -> None:
    options = options_of(__doc__, "limits", rounds=9).parse_args()
    found = {
        "rounds": options.rounds,
        "copy_gb_per_second": round(copy_bytes_per_second() / 1e9, 2),
        "product_gflops": products(options.rounds),
        "c_confusion_ms": c_loop(options.rounds),
    }
    record(options.out, "limits of this machine: copies, matrix products, a loop of C", found)
    print(found)


if __name__ == "__main__":
    main()
