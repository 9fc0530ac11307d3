"""Memory that a training frees stays with the process: seen in the pages that the system has to fill again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from segwright.training.memory import keep_freed
keep_freed(sys.argv[1])
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b"x" * 96_000_000
before = faults()
for _ in range(5):
    b"x" * 96_000_000
print((faults() - before) * resource.getpagesize() / 5 / 96e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator is told to keep memory")
@pytest.mark.parametrize(
    ("device", "environment", "kept"),
    [("cpu", {}, True), ("cuda", {}, False), ("cpu", {"MALLOC_ARENA_MAX": "2"}, False)],
)
def test_a_block_of_96_mb_is_filled_once(device: str, environment: dict[str, str], kept: bool) -> None:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, device],
        env=plain | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    share = float(done.stdout)
    assert share < 0.05 if kept else share > 0.5
