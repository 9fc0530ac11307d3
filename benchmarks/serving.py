"""How the server holds under load: throughput, latency, refusals, overload, memory, and whether it answers beside it.

python -m benchmarks.serving [--model FILE] [--backend openvino] [--concurrency 1 8 32 128] [--seconds 15] [--soak 0]

Clients run in processes of their own and keep their connections. Closed loop: each of N clients sends a picture when it has the
answer to the last one, and waits as long as Retry-After says when it is refused; clients start over one second. Overload:
pictures are sent at four times the best rate, however many are unanswered, five times, each beside the best level once more.
Every answer is compared byte by byte with what `Predictor` gives offline. A further process asks /live every 50 ms until the
soak begins. Without --model, Fast-SCNN with random weights is exported with its processing.
Writes benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rounds import ratio

PICTURES = 8
OVERLOAD = 4
PAIRS = 5
MOST_OPEN = 512
LIVE_EVERY = 0.05
RAMP = 1.0
"""Seconds over which the clients of a closed loop start."""


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, int, bytes]:
    """Status, Retry-After (0 without) and body of one request on a connection that stays open."""
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    body = await reader.readexactly(int(fields["content-length"]))
    return int(head.split()[1]), int(fields.get("retry-after", 0)), body


class Client:
    """Sends pictures, notes status and seconds of each, and counts answers with other bytes than expected."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.requests = [self._request((folder / f"{n}.jpg").read_bytes()) for n in range(PICTURES)]
        self.expected = [(folder / f"{n}_ids.png").read_bytes() for n in range(PICTURES)]
        self.seconds: dict[int, list[float]] = {}
        self.wrong = 0
        self.broken = 0
        self.elapsed = 0.0

    def _request(self, picture: bytes) -> bytes:
        head = f"POST /predict/ids HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: {len(picture)}\r\n\r\n"
        return head.encode() + picture

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> int:
        """Returns how long to wait before the next one, seconds."""
        start = time.perf_counter()
        status, retry, body = await exchange(reader, writer, self.requests[number % PICTURES])
        self.seconds.setdefault(status, []).append(time.perf_counter() - start)
        self.wrong += status == 200 and body != self.expected[number % PICTURES]
        return retry

    async def closed(self, clients: int, seconds: float) -> None:
        start = time.perf_counter()
        until = start + seconds

        async def loop(first: int) -> None:
            await asyncio.sleep(RAMP * first / clients)
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            number = first
            while time.perf_counter() < until:
                retry = await self.one(reader, writer, number)
                await asyncio.sleep(min(retry, max(0.0, until - time.perf_counter())))
                number += 1
            writer.close()

        await asyncio.gather(*[loop(first) for first in range(clients)])
        self.elapsed = time.perf_counter() - start

    async def open(self, rate: float, seconds: float) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(MOST_OPEN)]
        pending: set[asyncio.Task[None]] = set()

        async def once(number: int) -> None:
            reader, writer = idle.pop()
            if reader.at_eof():  # the server ends connections on which nothing was sent for long
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                await self.one(reader, writer, number)
                idle.append((reader, writer))
            except (OSError, asyncio.IncompleteReadError):
                self.broken += 1
                idle.append(await asyncio.open_connection("127.0.0.1", self.port))

        start = time.perf_counter()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            if idle:
                task = asyncio.create_task(once(number))
                pending.add(task)
                task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)
        self.elapsed = time.perf_counter() - start

    def told(self) -> dict[str, Any]:
        """Numbers over the time from the first request to the last answer."""
        done = np.array(self.seconds.get(200, []))
        refused = np.array([s for status, found in self.seconds.items() if status == 503 for s in found])
        return {
            "statuses": {str(k): len(v) for k, v in sorted(self.seconds.items())},
            "pictures_per_second": round(len(done) / self.elapsed, 2),
            "p50_ms": percentile(done, 50),
            "p99_ms": percentile(done, 99),
            "refusal_p50_ms": percentile(refused, 50),
            "refusal_p99_ms": percentile(refused, 99),
            "other_bytes": self.wrong,
            "broken_connections": self.broken,
        }


async def ask_live(port: int) -> list[float]:
    """Seconds of /live, asked until the process is told to end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    found: list[float] = []
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        start = time.perf_counter()
        await exchange(reader, writer, request)
        found.append(time.perf_counter() - start)
        await asyncio.sleep(LIVE_EVERY)
    return found


def percentile(seconds: Any, percent: float) -> float | None:
    return round(1000 * float(np.percentile(seconds, percent)), 2) if len(seconds) else None


def prepare(model: Path | None, backend: str | None, folder: Path, size: tuple[int, int]) -> Path:
    """Pictures, what offline prediction gives for them, and the model."""
    from PIL import Image

    from benchmarks.backends import picture
    from segwright.api.backends import open_backend
    from segwright.data.reading import read_image
    from segwright.inference.predictor import Predictor

    if model is None:
        model = random_model(folder, picture(size, 0), exported=backend not in (None, "torch"))
    segmenter, _, _ = open_backend(model, Path("runs"), backend)
    predictor = Predictor(segmenter)
    for number in range(PICTURES):
        file = folder / f"{number}.jpg"
        Image.fromarray(picture(size, number)).save(file, quality=90)
        buffer = io.BytesIO()
        Image.fromarray(predictor.predict(read_image(file))).save(buffer, format="PNG", compress_level=6)
        (folder / f"{number}_ids.png").write_bytes(buffer.getvalue())
    return model


def random_model(folder: Path, image: NDArray[np.uint8], *, exported: bool) -> Path:
    """Fast-SCNN of 19 classes with random weights and the picture's own statistics."""
    import torch

    from segwright.export.onnx import export_onnx
    from segwright.labels import load_label_space
    from segwright.models import Segmenter, build_architecture
    from segwright.models.weights import save_segmenter

    torch.manual_seed(0)
    labels = load_label_space("cityscapes19")
    architecture = build_architecture("fast_scnn", labels.num_classes, {})
    model = Segmenter(architecture, labels=labels, model={"name": "fast_scnn", "args": {}})
    with torch.no_grad():
        model.train()(torch.from_numpy(image).permute(2, 0, 1).repeat(2, 1, 1, 1))
    path = folder / ("model.onnx" if exported else "model.safetensors")
    if exported:
        export_onnx(model.eval(), path, picture=True)
    else:
        save_segmenter(model.eval(), path)
    return path


@contextmanager
def serving(model: Path, backend: str | None, folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a server that is ready."""
    options = [] if backend is None else ["--backend", backend]
    command = [sys.executable, "-m", "segwright.cli", "serve", str(model), "--port", "0", *options]
    with (folder / "server.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("ready: "):
                break
        else:
            raise SystemExit((folder / "server.txt").read_text())
        yield int(line.split()[1].rsplit(":", 1)[1]), process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def memory_mb(pid: int) -> float:
    import psutil

    server = psutil.Process(pid)
    return sum(p.memory_info().rss for p in [server, *server.children()]) / 2**20


def again(*options: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "benchmarks.serving", *options]


def load(port: int, folder: Path, mode: str, amount: float, seconds: float) -> dict[str, Any]:
    """One client process. mode: closed (amount: clients) or open (amount: pictures a second)."""
    settings = json.dumps([port, str(folder), mode, amount, seconds])
    done = subprocess.run(again("--client", settings), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{mode} {amount:g}: {found}", flush=True)
    return found


def client(port: int, folder: str, mode: str, amount: float, seconds: float) -> dict[str, Any]:
    own = Client(port, Path(folder))
    before = time.process_time()
    asyncio.run(own.closed(int(amount), seconds) if mode == "closed" else own.open(amount, seconds))
    return own.told() | {"client_cores": round((time.process_time() - before) / own.elapsed, 2)}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    height, width = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="segwright-serving-") as name:
        folder = Path(name)
        model = prepare(arguments.model, arguments.backend, folder, (height, width))
        with serving(model, arguments.backend, folder) as (port, pid):
            most = max(arguments.concurrency)
            for clients in (8, 64, most):  # warms up: every count of pictures together is met, and every connection
                load(port, folder, "closed", clients, arguments.seconds)
            before = memory_mb(pid)
            live = subprocess.Popen(again("--live", str(port)), stdout=subprocess.PIPE, text=True)
            levels = {n: load(port, folder, "closed", n, arguments.seconds) for n in arguments.concurrency}
            knee = max(levels, key=lambda n: levels[n]["pictures_per_second"])
            peak = levels[knee]["pictures_per_second"]
            pairs = [overloaded(port, folder, knee, peak, arguments.seconds / 3) for _ in range(PAIRS)]
            over = pairs[-1]["over"]
            live.terminate()
            lives = np.array(json.loads(live.communicate()[0]))
            usual = float(np.median([peak, *(one["knee"]["pictures_per_second"] for one in pairs)]))
            soak = load(port, folder, "open", 0.8 * usual, arguments.soak) if arguments.soak else None
            after = memory_mb(pid)
    everything = [*levels.values(), *(one for pair in pairs for one in pair.values()), *([soak] if soak else [])]
    return {
        "closed": {str(n): found for n, found in levels.items()},
        "knee": {"clients": knee, "p99_over_p50": round(levels[knee]["p99_ms"] / levels[knee]["p50_ms"], 2)},
        "overload": over
        | {"goodput_of_peak": ratio(*([one[k]["pictures_per_second"] for one in pairs] for k in ("over", "knee")))},
        "soak": soak,
        "live": {"asked": len(lives), "p99_ms": percentile(lives, 99), "max_ms": percentile(lives, 100)},
        "memory_mb": {"warm": round(before), "end": round(after), "growth": round(after / before - 1, 4)},
        "other_5xx": others(everything),
        "other_bytes": sum(one["other_bytes"] for one in everything),
    }


def overloaded(port: int, folder: Path, knee: int, peak: float, seconds: float) -> dict[str, dict[str, Any]]:
    """The best level once more, and right after it four times its rate: the machine's own speed changes by the minute."""
    return {
        "knee": load(port, folder, "closed", knee, seconds),
        "over": load(port, folder, "open", OVERLOAD * peak, seconds),
    }


def others(found: Sequence[dict[str, Any]]) -> int:
    """Answers of 5xx other than 503."""
    total: Counter[str] = Counter()
    for one in found:
        total.update(one["statuses"])
    return sum(count for status, count in total.items() if status.startswith("5") and status != "503")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a .safetensors or exported file")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument(
        "--soak",
        type=float,
        default=0,
        help="seconds at 80 %% of what the best level reaches, the median over its rounds",
    )
    parser.add_argument("--size", default="360x480")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serving.json")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--live", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client is not None:
        print(json.dumps(client(*json.loads(arguments.client))))
        return
    if arguments.live is not None:
        print(json.dumps(asyncio.run(ask_live(arguments.live))))
        return
    from segwright.files import write_json
    from segwright.runs.environment import environment

    found = measure(arguments)
    write_json(
        arguments.out,
        {
            "what": "pictures sent to `segwright serve` by clients in other processes of the same machine",
            "size": arguments.size,
            "backend": arguments.backend,
            "seconds_each": arguments.seconds,
            "soak_seconds": arguments.soak,
            "threads": os.environ.get("OMP_NUM_THREADS", "default"),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            **found,
        },
    )
    print(json.dumps({k: v for k, v in found.items() if k != "closed"}, indent=1))


if __name__ == "__main__":
    main()
