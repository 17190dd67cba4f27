"""A headless Chromium, spoken to through its DevTools: what a page requests, and what a script finds in it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

from tests.conftest import ROOT

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
AXE_VARIABLE = "TVAE_AXE"
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]


def axe_script() -> Path | None:
    """Where axe-core's ``axe.min.js`` lies: named by the environment, or installed by npm in the project."""
    places = [os.environ.get(AXE_VARIABLE, ""), str(ROOT / "node_modules" / "axe-core" / "axe.min.js")]
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


class Page:
    """One tab. `requests` are the addresses that it asked for since it was opened."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._numbers = socket, count(1)
        self.requests: list[str] = []
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def open(self, path: Path, *, scheme: str = "light", width: int = 1280) -> None:
        """Load a file and wait until it is complete."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.call("Page.navigate", url=path.as_uri())
        while (
            self.evaluate("document.readyState") != "complete"
            or self.evaluate("location.protocol") != "file:"
        ):
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """The value of a script's expression; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])


@contextmanager
def browser_page(folder: Path) -> Iterator[Page]:
    """A tab of a Chromium of its own, whose profile lies in `folder`; it is ended afterwards."""
    assert CHROMIUM
    process = subprocess.Popen(
        [CHROMIUM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = folder / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not port.is_file() or not port.read_text().strip():
            assert time.monotonic() < deadline and process.poll() is None, "Chromium did not start"
            time.sleep(0.05)
        number = port.read_text().split()[0]
        with urlopen(f"http://127.0.0.1:{number}/json/list") as answer:
            tabs = json.load(answer)
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with connect(address, max_size=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(timeout=30)
