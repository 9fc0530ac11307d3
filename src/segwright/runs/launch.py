"""How this process was started: alone, or as one of several by torchrun, `--processes`, Slurm or Kubernetes.

The environment says so, in the variables that torchrun sets; reading them needs no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from segwright.contracts import SegwrightError, UserError
from segwright.runs.folder import Run


def place() -> tuple[int, int]:
    """The number of this process, 0 for the first, and how many there are. Raises UserError for half-set variables."""
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        return 0, 1
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE is {count}, but {', '.join(missing)} is not set: several processes find each other by these. "
            "Start them with torchrun or `segwright train --processes N`, or unset WORLD_SIZE."
        )
    return _number("RANK", 0), count


def on_this_machine() -> int:
    """The number of this process among those on its machine."""
    return _number("LOCAL_RANK", 0)


def attempt() -> int:
    """How often torchrun has started the processes again after one died."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def launch_name() -> str | None:
    """What all attempts of one torchrun have in common; None without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return None if name is None else f"{name} {socket.gethostname()} {os.getppid()}"


def run_before(runs: Path, name: str | None) -> Run | None:
    """The run that an earlier attempt of this torchrun began, for going on with it; None for a first attempt.

    name: of the run, where it was given. A folder that was begun and holds nothing to resume is removed.
    """
    if attempt() == 0 or not runs.is_dir():
        return None
    for folder in sorted(runs.iterdir()) if name is None else [runs / name]:
        run = Run(folder)
        if folder.is_symlink() or not _is_ours(run):
            continue
        if run.last.is_file():
            return run
        shutil.rmtree(folder)
    return None


def _is_ours(run: Run) -> bool:
    try:
        facts = run.read_json("environment.json")
    except SegwrightError:
        return False
    return bool(facts.get("launch")) and facts["launch"] == launch_name()


def start_several(processes: int, arguments: Sequence[str]) -> int:
    """Run `segwright ARGUMENTS` in so many processes of this machine, by torchrun; returns the exit code.

    On Linux and macOS torchrun takes the place of this process, so that signals reach it.
    """
    if processes < 1:
        raise UserError(f"--processes is {processes}; allowed are 1 or more.")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "segwright.cli", *arguments]
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(sys.executable, command)
    import subprocess

    return subprocess.run(command, check=False).returncode


def note_error(text: str) -> None:
    """Leave the error where torchrun looks for it, so that its summary names it."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        told = {"message": text, "extraInfo": {"py_callstack": "", "timestamp": str(int(time.time()))}}
        with contextlib.suppress(OSError):
            Path(path).write_text(json.dumps({"message": told}), encoding="utf-8")


def without_option(arguments: Sequence[str], option: str) -> list[str]:
    """The command without `--option VALUE` or `--option=VALUE`."""
    found: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument != option and not argument.startswith(f"{option}="):
            found.append(argument)
        skip = argument == option and not skip
    return found


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable) or str(otherwise)
    if not text.isdigit():
        raise UserError(f"the environment variable {variable} is {text!r}; allowed are whole numbers from 0.")
    return int(text)
