"""Running the server: a socket, uvicorn, the engine; and ending it so that nothing accepted is lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
from collections.abc import Callable, Collection, Generator, Sequence

import uvicorn

from segwright.contracts import UserError
from segwright.web.app import build_app
from segwright.web.counters import Counters
from segwright.web.engine import Engine
from segwright.web.limits import Limits
from segwright.web.protocol import bounded
from segwright.web.service import Service

SHORTEST_TOKEN = 16
LAME_SECONDS = 0.5
"""After SIGTERM, for how long connections are still taken while /ready says no: those on their way are not lost."""


def run_server(
    command: Sequence[str],
    *,
    host: str,
    port: int,
    token: str | None,
    hosts: Collection[str],
    limits: Limits,
    say: Callable[[str], None],
) -> None:
    """Serves until SIGTERM or Ctrl-C, then answers what it has accepted. A second signal ends it at once.

    command: starts a worker. port: 0 takes a free one. hosts: further names under which the server may be asked.
    Raises UserError for an address beyond this machine without a token, a short token, and an address that cannot be
    taken; and what the worker says when the model cannot be opened.
    """
    check_token(host, token)
    with _listening(host, port) as listener:
        asyncio.run(_serve(listener, command, token=token, hosts=hosts, limits=limits, say=say))


def check_token(host: str, token: str | None) -> None:
    """Raises UserError unless everyone who can reach the server has to know a token."""
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UserError(
            f"the token has {len(token)} characters; it needs at least {SHORTEST_TOKEN}, of ASCII, to be hard to guess. Make "
            "one: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if token is None and not _is_loopback(host):
        raise UserError(
            f"--host {host} lets other machines in, which needs a token. Set SEGWRIGHT_TOKEN, or leave out --host to serve "
            "this machine alone."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--host {host} --port {port} cannot be taken ({error}). Choose another port; 0 takes a free one."
        ) from error
    # asyncio does this itself for sockets that it makes; without it the second half of a short answer waits 40 ms
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals, which ends the process by the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(
    listener: socket.socket,
    command: Sequence[str],
    *,
    token: str | None,
    hosts: Collection[str],
    limits: Limits,
    say: Callable[[str], None],
) -> None:
    engine = Engine(command, limits)
    service = Service(engine, limits, Counters())
    app = build_app(service, hosts=hosts, token=token)
    config = uvicorn.Config(
        app,
        http=bounded(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=max(1, limits.drain_seconds - 1),  # the lame half second comes before it
    )
    server = _Server(config)
    stopping = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: _stop(server, stopping))
    engine.start()
    gc.collect()
    gc.freeze()  # what start-up made stays: no later collection walks through it while requests wait
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    address, port = listener.getsockname()[:2]
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    say(f"{url}  loading the model …")
    beside = asyncio.create_task(_announce(engine, server, url, say))
    ending = asyncio.create_task(_drain(service, server, stopping, say))
    try:
        await serving
    finally:
        beside.cancel()
        ending.cancel()
        await engine.stop()
    if engine.failure is not None and engine.model is None:
        raise engine.failure


async def _announce(engine: Engine, server: uvicorn.Server, url: str, say: Callable[[str], None]) -> None:
    await engine.settled.wait()
    if engine.model is None:
        server.should_exit = True
        return
    model = engine.model
    say(f"{model['name']} ({model['backend']}): licence of the weights: {model['licence']}")
    say(f"ready: {url}  (Ctrl-C stops)")


def _stop(server: uvicorn.Server, stopping: asyncio.Event) -> None:
    if stopping.is_set():
        server.force_exit = True
    stopping.set()


async def _drain(service: Service, server: uvicorn.Server, stopping: asyncio.Event, say: Callable[[str], None]) -> None:
    while not stopping.is_set():  # a signal's handler does not wake the loop by itself
        await asyncio.sleep(0.1)
    service.draining = True
    say(f"stopping: {service.admission.pending} pictures are still answered")
    await asyncio.sleep(LAME_SECONDS)
    server.should_exit = True
