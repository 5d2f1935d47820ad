"""Debian's Chromium without a window, driven over its DevTools pipe: no driver, no extra package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Browser:
    """One page of a running browser; `call` sends a DevTools command and returns its result."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._number = 0
        self._session = ""
        self._rest = b""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        while self.value("document.readyState") != "complete":  # what is told of a page later is of the next one
            pass

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, url: str) -> None:
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_until_loaded()

    def wait_until_loaded(self) -> None:
        """Read what the browser says until it has gone to another page and that has loaded."""
        while not self._loaded():
            self.events.append(self._next())

    def _loaded(self) -> bool:
        said = [one.get("method") for one in self.events]
        return "Page.frameNavigated" in said and "Page.loadEventFired" in said[said.index("Page.frameNavigated") :]

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._back, 1 << 16)
            assert piece, "the browser has gone"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


def chromium() -> str | None:
    """Return the browser's path, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser(profile: Path, width: int, height: int) -> Iterator[Browser]:
    """Run a browser that accepts the emulator's certificate."""
    path = chromium()
    assert path is not None
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()
    command = [
        path,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-pipe",
    ]
    command += ["--ignore-certificate-errors", "--no-first-run", f"--user-data-dir={profile}", "--no-proxy-server"]
    command += [f"--window-size={width},{height}", "about:blank"]

    # The browser reads commands from descriptor 3 and answers on descriptor 4.
    wrapped = ["sh", "-c", f'exec "$@" 3</proc/self/fd/{to_read} 4>/proc/self/fd/{back_write}', "sh", *command]
    with subprocess.Popen(wrapped, pass_fds=(to_read, back_write), stderr=subprocess.DEVNULL) as process:
        os.close(to_read)
        os.close(back_write)
        try:
            yield Browser(to_write, back_read)
        finally:
            process.terminate()
            process.wait(120)
            os.close(to_write)
            os.close(back_read)
