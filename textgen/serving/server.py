"""The process that listens: its socket, its signals, and what is no HTTP."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from textgen.config import ServingOptions
from textgen.errors import RunError, UsageError
from textgen.serving.app import GONE, make_app
from textgen.serving.completions import SLOWEST_READER
from textgen.serving.models import Models
from textgen.serving.requests import Refused
from textgen.serving.scheduler import Scheduler

SLOWEST_HEAD = 10.0  # seconds in which a request's head must be there
# a connection that was hung up on is dropped after so many looks, and one for each so many bytes
PATIENT, LEAST_READ = 6, 65_536
LAST_TEXTS = 10.0  # seconds that running texts have to end by themselves
BACKLOG = 1024  # connections that the system holds until they are accepted
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    runs: Sequence[str],
    checkpoints: Path,
    options: ServingOptions,
    ready: Callable[[str], object] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; arguments and errors as of `textgen.serve`."""
    with suppress(RuntimeError):  # there is none
        asyncio.get_running_loop()
        what = "a server is started inside of a running event loop, as a notebook has"
        hint = "threading.Thread(target=textgen.serve, args=('RUN',), daemon=True).start()"
        raise UsageError(f"{what}; expected a thread of its own", hint)
    check_host(options)
    with listening(options) as listener:
        server = make_server(runs, checkpoints, options)
        if ready is not None:
            server.on_start = lambda: ready(address(listener))
        server.run(sockets=[listener])


def make_server(runs: Sequence[str], checkpoints: Path, options: ServingOptions) -> Server:
    """A server with its models, to be run on a socket that listens."""
    models = Models(runs, checkpoints)
    scheduler = Scheduler(options.queue)
    config = uvicorn.Config(
        make_app(models, scheduler, options),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=round(LAST_TEXTS) + 1,
    )
    return Server(config, scheduler)


def check_host(options: ServingOptions) -> None:
    """Raise UsageError if others could reach the server without a key."""
    try:
        own = ipaddress.ip_address(options.host.strip("[]")).is_loopback
    except ValueError:
        own = options.host == "localhost"
    if not own and not options.api_key:
        what = f"`host` is {options.host}, which others can reach, and there is no key"
        hint = 'give one: TEXTGEN_API_KEY="$(openssl rand -hex 16)", or leave out `host`'
        raise UsageError(f"{what}; expected a key, or this machine's own address", hint)


@contextmanager
def listening(options: ServingOptions) -> Iterator[socket.socket]:
    """A socket that listens. Raises RunError."""
    host = options.host.strip("[]")
    try:
        family = socket.getaddrinfo(host, options.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, options.port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        what = f"cannot listen on {options.host} port {options.port}: {why}"
        hint = "choose another port: `port=0` takes any free one"
        elsewhere = getattr(error, "errno", None) == errno.EADDRNOTAVAIL
        if elsewhere or isinstance(error, (socket.gaierror, UnicodeError)):
            hint = "name an address of this machine: `host=127.0.0.1`"
        raise RunError(what, hint) from None
    with listener:
        yield listener


def address(listener: socket.socket) -> str:
    """Of a server on that socket."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _unheard() -> Iterator[None]:
    """Drop what uvicorn logs in this thread: what matters stands in textgen's own log."""
    here, log = threading.get_ident(), logging.getLogger("uvicorn.error")

    def of_another(record: logging.LogRecord) -> bool:
        return record.thread != here

    log.addFilter(of_another)
    try:
        yield
    finally:
        log.removeFilter(of_another)


class Server(uvicorn.Server):
    """Ends by a signal, with running texts given time; on_start: called once it listens."""

    def __init__(self, config: uvicorn.Config, scheduler: Scheduler) -> None:
        super().__init__(config)
        self.scheduler = scheduler
        self.on_start: Callable[[], object] = lambda: None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        with _unheard():
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            self.on_start()
        except BaseException:
            await self.shutdown(sockets)
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Texts that run on after the time they have end as they stand."""
        asyncio.get_running_loop().call_later(LAST_TEXTS - 0.5, self.scheduler.end_all)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals, and do not raise them again at the end: it is a good end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Protocol(H11Protocol):
    """HTTP whose own errors are error objects too, and that waits for no slow sender or reader."""

    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _times = 0  # that the reader was looked at since the connection was hung up on,
    _whole = 0  # when so many bytes were left
    _heard = False  # whether the client said anything

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        self._await_reader(0)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """A body that ends before its length gets an answer; of others the client went away."""
        if self.cycle is None or self.cycle.response_started:
            return
        if self.cycle.more_body:
            self.send_400_response("the body ends before its length")
        else:
            self._note(GONE)

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.response_started = self.cycle.response_complete = True
            self._note(400)
        self._end(400, msg)

    def _note(self, status: int) -> None:
        """Tell what became of the request that is being answered: see `Gate`."""
        self.scope["state"]["answered"] = status

    def _await_head(self) -> None:
        """Give the client time for the head of a request, from its first byte."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(SLOWEST_HEAD, self._too_late)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _await_reader(self, left: int) -> None:
        """Drop a connection while the client reads nothing of what is left, or hardly anything.

        It was hung up on, or the answer to another request waits behind that. left: bytes that were
        not sent yet when it was looked at last.
        """
        now, over = self.transport.get_write_buffer_size(), self.transport.is_closing()
        waits = now and self.cycle is not None and not self.cycle.response_started
        if over and not self._times:
            self._whole = now
        self._times += over
        slow = over and (self._times - PATIENT) * LEAST_READ > self._whole
        if slow or (now == left and (waits or over)):
            self.transport.abort()
        else:
            self._unread = self.loop.call_later(SLOWEST_READER, self._await_reader, now)

    def _too_late(self) -> None:
        self._late = None
        idle = self.cycle is None or self.cycle.response_complete
        if not self._heard:
            self.transport.close()
        elif idle and not self.transport.is_closing():
            self._end(408, f"the request was not there after {SLOWEST_HEAD:g} seconds")

    def _end(self, status: int, message: str) -> None:
        """Answer outside of any request, and hang up."""
        body = json.dumps(Refused(message, status=status).body).encode()
        headers: list[Any] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        events = (
            h11.Response(status_code=status, headers=headers, reason=b""),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        with suppress(h11.LocalProtocolError):  # an answer has begun
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()
