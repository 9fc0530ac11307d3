"""The worker process of `segwright serve`: python -m segwright.api.serving_process SETTINGS FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segwright.web.worker import Opened


def main() -> None:
    """SETTINGS: JSON of `api.serving`. FOLDER: for pictures while they are decoded."""
    from segwright.web.worker import work

    settings, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    _import_heavy()  # so that a process in reserve has it done
    work(
        lambda: _open(settings),
        batch=settings["batch"],
        wait_ms=settings["wait_ms"],
        pixels=settings["pixels"],
        folder=folder,
    )


def _import_heavy() -> None:
    import segwright.inference.backends.opening
    import segwright.inference.predictor
    import segwright.models.weights
    import segwright.web.answers
    import segwright.web.batching  # noqa: F401


def _open(settings: dict[str, Any]) -> Opened:
    from rich.console import Console

    from segwright.api.backends import open_backend
    from segwright.build import pick_device
    from segwright.files import sha256
    from segwright.inference.predictor import Predictor
    from segwright.web.worker import Opened

    console = Console(stderr=True)
    model, file, run = open_backend(settings["source"], Path(settings["runs"]), settings["backend"], console)
    session = getattr(model, "session", None)
    return Opened(
        predictor=Predictor(model, device=pick_device(settings["device"])),
        name=run.name if run else file.stem,
        backend="torch" if session is None else session.backend,
        weights=sha256(file),
        paths=tuple(sorted({str(file), *settings["hidden"]}, key=len, reverse=True)),
    )


if __name__ == "__main__":
    main()
