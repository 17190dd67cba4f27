"""moto's S3 server as one process: prints its port as the first line, stops when its standard input closes.

    python tests/moto_server.py

It keeps S3's promises about conditional writes and takes any credentials. Requests are answered one at a time: S3
decides between racing conditional writers, and moto's own check and write are two steps that threads interleave.
"""

import sys
import threading
from collections.abc import Callable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    """Keeps the tests' output clean."""

    def log(self, *_: Any) -> None:
        """Log nothing."""


def main() -> None:
    """Serve until standard input closes."""
    application = DomainDispatcherApplication(create_backend_app)
    turn = threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with turn:
            return list(application(environ, start_response))

    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)  # noqa: T201
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
