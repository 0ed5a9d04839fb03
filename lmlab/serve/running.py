"""Running the server: the socket, uvicorn, and a stop that lets running answers end.

The first Ctrl-C or SIGTERM refuses new requests, answers those that wait with 503, and lets texts in the batch end for some
seconds; a second one ends at once.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import FrameType

import uvicorn

from lmlab import LabError
from lmlab.serve.app import Server
from lmlab.serve.guard import Gate, is_loopback
from lmlab.serve.metrics import Metrics
from lmlab.serve.scheduler import Scheduler
from lmlab.serve.served import Limits, Served

GRACE_SECONDS = 10
IDLE_SECONDS = 30
MOST_CONNECTIONS = 1024
SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the server listens, and who may ask."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free port."""
    token: str = ""
    """Empty: none on loopback, and a new one elsewhere."""

    def required_token(self) -> str | None:
        """Return the token that requests need; None if they need none."""
        if self.token and len(self.token) < SHORTEST_TOKEN:
            raise LabError(f"the token has {len(self.token)} characters: expected at least {SHORTEST_TOKEN}")
        if self.token and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise LabError("the token has a space or another character that no header can have: expected ASCII")
        return self.token or (None if is_loopback(self.host) else secrets.token_urlsafe(32))


class HttpServer(uvicorn.Server):  # type: ignore[misc, unused-ignore]
    """uvicorn, which tells the scheduler of the first signal at once."""

    def __init__(self, server: Server, started: Callable[[], None] = lambda: None) -> None:
        """`started` is called when requests are accepted."""
        config = uvicorn.Config(
            server.app(),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http="h11",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            limit_concurrency=MOST_CONNECTIONS,
        )
        super().__init__(config)
        self._scheduler, self._started = server.scheduler, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept requests."""
        await super().startup(sockets)
        self._started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal; at once on the second."""
        self._scheduler.close()
        super().handle_exit(sig, frame)


def new_server(
    served: Served, limits: Limits, names: Collection[str], token: str | None, say: Callable[[str], object]
) -> Server:
    """Return a server, whose scheduler is to be started; `names` are its host names, besides those of loopback."""
    metrics = Metrics(limits.batch)
    return Server(
        served=served,
        limits=limits,
        scheduler=Scheduler(served, limits, metrics, say),
        metrics=metrics,
        gate=Gate(names=names, token=token),
        say=say,
        began=int(time.time()),
    )


def run_server(served: Served, limits: Limits, place: Place, say: Callable[[str], object]) -> None:
    """Serve until a signal; `say` is called with lines for the person who started it. LabError if the place can't be used."""
    token = place.required_token()
    bound = listening_socket(place.host, place.port)
    server = new_server(served, limits, {place.host.lower(), socket.gethostname().lower()}, token, say)
    server.scheduler.start()
    try:
        # uvicorn raises the signal again once it has ended.
        with bound, contextlib.suppress(KeyboardInterrupt):
            HttpServer(server, lambda: _announce(served, bound, token, limits, say)).run(sockets=[bound])
    finally:
        server.scheduler.stop()
    say(server.metrics.summary())


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. LabError if the address isn't this machine's, or the port is taken."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        # asyncio sets TCP_NODELAY only where the protocol is named; without it each first token waits 40 ms for an acknowledgement.
        found = socket.socket(family, kind, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise LabError(
            f"--host {host!r} can't be used ({error}): expected an address or a name of this machine"
        ) from None
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(MOST_CONNECTIONS)
    except OSError as error:
        found.close()
        raise LabError(
            f"{host}:{port} can't be used ({error.strerror or error}): choose another --host or --port"
        ) from None
    return found


def _announce(
    served: Served, bound: socket.socket, token: str | None, limits: Limits, say: Callable[[str], object]
) -> None:
    host, port = bound.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    template = f"template {served.template.name}" if served.template else "base model, no template"
    say(f"{served.name}@{served.step} ({template}) at {address}/v1, chat page at {address}/; Ctrl-C stops")
    say(f"at most {limits.batch} texts at a time, {limits.queue} waiting, {limits.tokens:,} tokens a text")
    if token is not None:
        say(f"requests need the header Authorization: Bearer {token}")
