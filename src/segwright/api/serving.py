"""Serving a model over HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import new_console
from segwright.api.verbs import RUNS
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

LOOPBACK = "127.0.0.1"


def serve(
    source: str | Path,
    *,
    host: str = LOOPBACK,
    port: int = 8000,
    token: str | None = None,
    allow_hosts: Sequence[str] = (),
    backend: str | None = None,
    device: str = "auto",
    limits: Mapping[str, float] | None = None,
    runs: Path = RUNS,
    console: Console | None = None,
) -> None:
    """Answer pictures over HTTP until SIGTERM or Ctrl-C; what was accepted by then is still answered.

    source: a run, its name, a .safetensors file, or an exported file. host: the address to listen at; another than this
    machine's own (loopback) needs a token. port: 0 takes a free one. token: what clients have to send, 16 characters or
    more. allow_hosts: further names under which clients may ask, such as a proxy's. backend, device: as for `predict`.
    limits: changes of `web.limits.Limits`, by name.
    Answers have the bytes of the files that `predict` writes. The model lives in a process of its own, which is started
    again when it dies.
    Raises UserError for a missing model, package or token, a wrong limit and an address that cannot be taken.
    """
    from segwright.runs import model_file

    _check_packages()
    from segwright.web.limits import Limits
    from segwright.web.server import check_token, run_server

    unknown = sorted(set(limits or {}) - set(Limits.__dataclass_fields__))
    if unknown:
        raise UserError(f"there is no limit '{unknown[0]}'; there are {', '.join(Limits.__dataclass_fields__)}.")
    held = Limits(**(limits or {}))  # type: ignore[arg-type]
    if not 0 <= port <= 65535:
        raise UserError(f"--port is {port}; allowed are 0 (any free one) to 65535.")
    check_token(host, token)
    path, _ = model_file(source, runs=Path(runs))
    console = console or new_console()
    settings = {
        "source": str(source),
        "runs": str(runs),
        "backend": backend,
        "device": device,
        "hidden": [str(path), str(path.parent), str(source)],
        "batch": held.batch,
        "wait_ms": held.wait_ms,
        "pixels": held.pixels,
    }
    command = [sys.executable, "-m", "segwright.api.serving_process", json.dumps(settings)]
    run_server(
        command,
        host=host,
        port=port,
        token=token,
        hosts=allow_hosts,
        limits=held,
        say=lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
    )


def _check_packages() -> None:
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        try:
            __import__(module)
        except ImportError as error:
            raise UserError(
                f"the package {module} cannot be imported ({error}). Install it: pip install 'segwright[serve]'"
            ) from error
