"""A real server in a process of its own, and plain clients for it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CODE = "import json, sys, segwright; segwright.serve(sys.argv[1], **json.loads(sys.argv[2]))"
WATCH = """
import os, socket, sys
def note(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple) and not str(arguments[1][0]).startswith("127."):
        open(os.environ["CONNECTED"], "a").write(str(arguments[1]) + "\\n")
        raise OSError("this test allows no connection to elsewhere")
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost", None):
        open(os.environ["CONNECTED"], "a").write(str(arguments[0]) + "\\n")
sys.addaudithook(note)
"""


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    process: subprocess.Popen[str]
    port: int
    outside: Path
    """Where connections to other machines are noted."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def wait_ready(self, ready: bool = True) -> None:
        while (self.ask("GET", "/ready").status == 200) != ready:
            assert self.process.poll() is None, "the server has ended"
            time.sleep(0.05)

    def metric(self, name: str) -> float:
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def wait_metric(self, name: str, value: float) -> None:
        until = time.monotonic() + 60
        while self.metric(name) != value:
            assert time.monotonic() < until, f"{name} stays {self.metric(name)}"
            time.sleep(0.02)

    def workers(self) -> list[psutil.Process]:
        """The worker first, then the process in reserve."""
        return sorted(psutil.Process(self.process.pid).children(), key=lambda p: p.create_time())


@contextmanager
def serving(model: Path, folder: Path, **options: Any) -> Iterator[Served]:
    """`segwright.serve(model, **options)` in a process; ended by SIGKILL where the test has not ended it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(WATCH)
    outside = folder / "connected.txt"
    settings = os.environ | {
        "PYTHONPATH": str(folder),
        "CONNECTED": str(outside),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder),
    }
    with (folder / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CODE, str(model), json.dumps({"port": 0, **options})],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=settings,
        )
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("http://"):
                break
        else:
            raise AssertionError("".join(lines) + (folder / "errors.txt").read_text())
        yield Served(process, int(line.split()[0].rsplit(":", 1)[1]), outside)
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        process.stdout.close()
        for child in children:
            if child.is_running():
                child.send_signal(signal.SIGKILL)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Blocks of colour with noise: uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)[:height, :width] + rng.integers(0, 56, (height, width, 3), dtype=np.uint8)


def form(files: Mapping[str, bytes], field: str = "pictures", boundary: str = "seam") -> tuple[bytes, dict[str, str]]:
    """A multipart body and its header. files: by name."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}
