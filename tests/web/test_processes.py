"""Faults of processes and connections, with real ones: death, overflow, slow and vanished clients, stopping."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import segwright
from segwright.contracts import UserError
from segwright.inference.backends.opening import load_plain
from segwright.inference.backends.predicting import IdsPredictor
from segwright.inference.maps import Predicts
from segwright.inference.predictor import Predictor
from segwright.models.weights import load_segmenter
from segwright.web.batching import Batches
from tests.web.served import Reply, Served, photo, serving


@pytest.fixture(scope="module")
def heavy() -> bytes:
    """A picture that takes the small model a moment."""
    buffer = io.BytesIO()
    Image.fromarray(photo(600, 800)).save(buffer, format="JPEG")
    return buffer.getvalue()


def many(count: int, ask: Callable[[], Reply]) -> list[Reply]:
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(ask) for _ in range(count)]]


def request(picture: bytes, port: int) -> bytes:
    return (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(picture)}\r\n\r\n".encode() + picture
    )


def test_a_wrong_start_says_what_to_do(model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="cannot be taken"):
        segwright.serve(model, port=taken.getsockname()[1])
    with pytest.raises(UserError, match="does not exist"):
        segwright.serve(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="needs a token"):
        segwright.serve(model, host="0.0.0.0")
    with pytest.raises(UserError, match="no limit 'speed'"):
        segwright.serve(model, limits={"speed": 1})
    with pytest.raises(UserError, match="--port"):
        segwright.serve(model, port=70000)


@pytest.mark.slow
def test_a_model_that_cannot_be_opened_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no model")
    command = [sys.executable, "-m", "segwright.cli", "serve", str(tmp_path / "bad.safetensors"), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 3
    assert "bad.safetensors" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ready_waits_for_the_model_and_a_dead_worker_is_replaced(model: Path, tmp_path: Path, heavy: bytes) -> None:
    with serving(model, tmp_path) as server:
        assert server.ask("GET", "/live").status == 200
        early = server.ask("GET", "/ready")
        assert (early.status, early.json(), early.headers["retry-after"]) == (503, {"ready": False}, "2")
        assert server.ask("POST", "/predict", heavy).status == 503
        server.wait_ready()
        expected = server.ask("POST", "/predict/ids", heavy).body
        while len(server.workers()) < 2:  # the one in reserve
            time.sleep(0.05)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(server.ask, "POST", "/predict/ids", heavy) for _ in range(4)]
            server.wait_metric("segwright_pending_pictures", 4)
            server.workers()[0].send_signal(signal.SIGKILL)
            server.wait_ready(False)
            server.wait_ready()
            for answer in (future.result() for future in asked):  # taken back, and computed by the next worker
                assert (answer.status, answer.body == expected) == (200, True)
        assert server.metric("segwright_worker_restarts") == 1
        assert server.metric("segwright_pending_pictures") == 0


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(model: Path, tmp_path: Path, heavy: bytes) -> None:
    with serving(model, tmp_path, limits={"predict_seconds": 2}) as server:
        server.wait_ready()
        server.workers()[0].send_signal(signal.SIGSTOP)
        assert server.ask("POST", "/predict/ids", heavy).status == 200
        assert server.metric("segwright_worker_restarts") == 1


@pytest.mark.slow
def test_overflow_is_refused_and_the_rest_is_answered(model: Path, tmp_path: Path, heavy: bytes) -> None:
    with serving(model, tmp_path, limits={"queue": 3}) as server:
        server.wait_ready()
        found = many(24, lambda: server.ask("POST", "/predict", heavy))
        statuses = Counter(reply.status for reply in found)
        assert set(statuses) == {200, 503}, statuses
        assert statuses[200] >= 3
        for reply in found:
            if reply.status == 503:
                assert reply.json()["error"]["code"] == "busy"
                assert 1 <= int(reply.headers["retry-after"]) <= 30
        assert server.ask("POST", "/predict", heavy).status == 200
        assert server.metric("segwright_pending_pictures") == server.metric("segwright_held_bytes") == 0


@pytest.mark.slow
def test_a_client_that_leaves_frees_its_slot(model: Path, tmp_path: Path, heavy: bytes) -> None:
    with serving(model, tmp_path, limits={"queue": 8, "batch": 1}) as server:
        server.wait_ready()
        clients = [server.connect() for _ in range(8)]
        for client in clients:
            client.sendall(request(heavy, server.port))
        server.wait_metric("segwright_pending_pictures", 8)
        assert server.ask("POST", "/predict", heavy).status == 503
        for client in clients:
            client.close()
        server.wait_metric("segwright_pending_pictures", 0)
        assert server.ask("POST", "/predict", heavy).status == 200
        half = server.connect()
        half.sendall(request(heavy, server.port)[:2000])
        server.wait_metric("segwright_pending_pictures", 1)
        half.close()
        server.wait_metric("segwright_pending_pictures", 0)


@pytest.mark.slow
def test_slow_clients_are_cut_off(model: Path, tmp_path: Path, heavy: bytes) -> None:
    limits = {"head_seconds": 2, "body_seconds": 2, "queue": 4, "connections": 60}
    with serving(model, tmp_path, limits=limits) as server:
        server.wait_ready()
        heads = [server.connect() for _ in range(20)]
        bodies = [server.connect() for _ in range(4)]
        silent = server.connect()
        stop = threading.Event()

        def drip() -> None:
            for client in bodies:
                client.sendall(request(heavy, server.port)[:500])
            while not stop.is_set():
                for client in [*heads, *bodies]:
                    try:
                        client.sendall(b"G")
                    except OSError:
                        continue
                time.sleep(0.1)

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            server.wait_metric("segwright_pending_pictures", 4)
            assert server.ask("GET", "/live").status == 200
            for client in [*heads, *bodies, silent]:
                assert is_cut(client)
            assert server.ask("POST", "/predict", heavy).status == 200
        finally:
            stop.set()
            dripping.join()
        crowd = [server.connect() for _ in range(80)]
        assert (
            sum(is_cut(client) for client in crowd) == 80
        )  # those beyond the limit at once, the others after the time
        assert server.ask("GET", "/live").status == 200


def is_cut(client: socket.socket) -> bool:
    """Whether the server closes the connection without an answer."""
    client.settimeout(20)
    try:
        return client.recv(100) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    finally:
        client.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_stopping_answers_what_was_accepted(model: Path, tmp_path: Path, heavy: bytes, name: signal.Signals) -> None:
    with serving(model, tmp_path) as server:
        server.wait_ready()
        workers = server.workers()
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(server.ask, "POST", "/predict", heavy) for _ in range(12)]
            server.wait_metric("segwright_pending_pictures", 12)
            server.process.send_signal(name)
            for worker in workers:  # as a service manager does, which ends the whole group
                worker.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert server.ask("GET", "/ready").status == 503
            assert [future.result().status for future in asked] == [200] * 12
        assert server.process.wait(60) == 0
        for worker in workers:
            worker.wait(20)
    assert not list(tmp_path.glob("segwright-serve-*"))


@pytest.mark.slow
def test_the_worker_ends_with_the_server(model: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path) as server:
        server.wait_ready()
        workers = server.workers()
        server.process.kill()
        for worker in workers:
            worker.wait(20)
    assert not list(tmp_path.glob("segwright-serve-*")), "pictures are left behind"


@pytest.mark.slow
def test_the_server_lives_under_load(model: Path, tmp_path: Path, heavy: bytes) -> None:
    with serving(model, tmp_path) as server:
        server.wait_ready()
        stop = threading.Event()
        found: Counter[int] = Counter()

        def load() -> None:
            while not stop.is_set():
                found[server.ask("POST", "/predict/overlay", heavy).status] += 1

        threads = [threading.Thread(target=load) for _ in range(16)]
        for thread in threads:
            thread.start()
        lives = Counter(server.ask("GET", "/live").status for _ in range(100))
        stop.set()
        for thread in threads:
            thread.join()
        assert lives == {200: 100}
        assert set(found) == {200}
        assert len(server.workers()) == 2
        assert server.metric("segwright_worker_restarts") == 0


@pytest.mark.slow
def test_exported_models_are_computed_together_with_the_same_bytes(model: Path, tmp_path: Path) -> None:
    """Batches of onnxruntime: the same ids as one by one."""
    pytest.importorskip("onnxruntime")
    segwright.export_model(model, out=tmp_path / "model.onnx", with_processing=True)
    check_batches(IdsPredictor(load_plain(tmp_path / "model.onnx"), threads=2))


def test_models_are_computed_together_with_the_same_bytes(model: Path) -> None:
    check_batches(Predictor(load_segmenter(model), device="cpu"))


def check_batches(predictor: Predicts) -> None:
    """Seven pictures in fours give what each gives alone: while the ways are compared, and after that."""
    pictures = [photo(67, 101, seed) for seed in range(7)]
    batches = Batches(predictor, 4)
    alone = [predictor.predict(picture).tobytes() for picture in pictures]
    for _ in range(2):
        assert [ids.tobytes() for ids in batches.predict(pictures)] == alone
    assert all(batches.predict([p])[0].tobytes() == a for p, a in zip(pictures, alone, strict=True))


def test_served_bytes_name_the_right_picture_under_concurrency(server: Served) -> None:
    """Pictures of several sizes at once: nobody gets another one's answer."""
    sizes = [(20 + n % 5, 30 + n // 5) for n in range(30)]

    def ask(size: tuple[int, int]) -> tuple[int, int]:
        buffer = io.BytesIO()
        Image.fromarray(photo(*size)).save(buffer, format="PNG")
        answer = server.ask("POST", "/predict", buffer.getvalue()).json()
        return answer["height"], answer["width"]

    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(ask, sizes)) == sizes


def test_the_process_that_speaks_http_loads_no_torch() -> None:
    code = "import sys, segwright.web.server; print('torch' in sys.modules or 'cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
