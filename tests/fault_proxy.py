"""A TCP proxy that stands before a real server and makes a bad day of it: refusals, cuts, crawling, 503."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

CHUNK = 65_536
SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>too many requests</Message></Error>'


class FaultProxy:
    """Passes bytes on to `upstream`, except as its settings say; each may be changed while it runs.

    delay: seconds waited before each chunk that the server answers is passed on.
    busy: so many coming connections are answered 503 SlowDown, by the proxy itself.
    cut_after: the next connection over which more bytes than this come from the client is cut, and only that one.
    cut_answers: so many requests reach the server while their answers are lost.
    on_request: called with what comes from a client, before it is passed on.
    """

    def __init__(self, upstream: str) -> None:
        address = urlsplit(upstream)
        self._upstream = (address.hostname or "127.0.0.1", address.port or 80)
        self.delay, self.busy, self.cut_answers = 0.0, 0, 0
        self.cut_after: int | None = None
        self.on_request: Callable[[bytes], None] = lambda _: None
        self.connections = self.cuts = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._serve()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def down(self) -> None:
        """Refuse connections, and cut those that are open."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._lock:
            for connection in self._open:
                _cut(connection)

    def up(self) -> None:
        """Serve again, at the same address."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()

    def down_for(self, seconds: float) -> threading.Timer:
        """Be down from now on, and up again after so many seconds; join what is returned."""
        self.down()
        timer = threading.Timer(seconds, self.up)
        timer.start()
        return timer

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed by `down`
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._handle, args=(client,), daemon=True).start()

    def _handle(self, client: socket.socket) -> None:
        self.connections += 1
        with client, contextlib.suppress(OSError):
            if self.busy > 0:
                self.busy -= 1
                _answer_busy(client)
                return
            with socket.create_connection(self._upstream) as server:
                with self._lock:
                    self._open |= {client, server}
                answers = threading.Thread(target=self._pass_answers, args=(server, client), daemon=True)
                answers.start()
                try:
                    self._pass_requests(client, server)
                finally:
                    answers.join()
                    with self._lock:
                        self._open -= {client, server}

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while chunk := client.recv(CHUNK):
                passed += len(chunk)
                if self.cut_after is not None and passed > self.cut_after:
                    self.cut_after = None
                    self.cuts += 1
                    _cut(client)
                    break
                self.on_request(chunk)
                server.sendall(chunk)
        _cut(server)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(CHUNK):
                if self.cut_answers > 0:
                    self.cut_answers -= 1
                    self.cuts += 1
                    break
                time.sleep(self.delay)
                client.sendall(chunk)
        _cut(client)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _answer_busy(client: socket.socket) -> None:
    """Read the request as far as it comes at once, so that its sender meets an answer and not a reset."""
    client.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while client.recv(CHUNK):
            pass
    head = f"HTTP/1.1 503 Slow Down\r\nContent-Length: {len(SLOW_DOWN)}\r\nConnection: close\r\n\r\n"
    client.sendall(head.encode() + SLOW_DOWN)


@contextlib.contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A proxy before the server at `upstream`, down again at the end."""
    proxy = FaultProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.down()
