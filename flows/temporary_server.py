"""A Prefect server for one run, which ends with the process that started it, however that ends.

Prefect's own temporary server outlives a parent that is killed. This one reads its standard input, a pipe whose other
end the parent holds: when the parent is gone, by an exit or by `kill -9`, the pipe closes, and the server with it.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from tvae_core.errors import TVAEError

STOP_SECONDS = 5.0


@contextlib.contextmanager
def temporary_server() -> Iterator[str]:
    """Start a server on a free port of the loopback interface; the address of its API. Raises TVAEError."""
    command = [sys.executable, "-m", "flows.temporary_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            if not port.isdigit():
                raise TVAEError(
                    "Prefect's temporary server did not start: see the lines above; PREFECT_HOME must be writable, or "
                    "set PREFECT_API_URL to a server of your own"
                )
            yield f"http://127.0.0.1:{port}/api"
        finally:
            process.stdin.close()
            try:
                process.wait(2 * STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def serve() -> None:
    """Serve until standard input closes; the port goes to standard output once requests are answered."""
    os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started and sockets:
                sys.stdout.write(f"{sockets[0].getsockname()[1]}\n")
                sys.stdout.flush()

    server = Server(uvicorn.Config(create_app(), log_level="error", lifespan="on"))

    def watch() -> None:
        sys.stdin.read()
        server.should_exit = True
        time.sleep(STOP_SECONDS)
        os._exit(1)  # it is still starting, or hangs: nobody waits for it any more

    threading.Thread(target=watch, daemon=True).start()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server.run([listening])


if __name__ == "__main__":
    serve()
