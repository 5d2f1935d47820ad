"""A real browser, told what to do over the DevTools protocol: it opens pages, presses what is on them, and looks."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.service.process import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_AS_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in zip((3, 4), ends):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads its orders from the file 3 and answers in the file 4."""


class Browser:
    """One page of a browser."""

    def __init__(self, orders: IO[bytes], answers: IO[bytes]) -> None:
        self._orders = orders
        self._answers = answers
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}
        target = self._do("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self._do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def look_like(self, width: int, scheme: str) -> None:
        """Be a screen so wide, in the `light` or the `dark`."""
        self._do("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        self._do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        """Open a page, and wait until it is there."""
        self._do("Page.navigate", url=url)
        until(lambda: self.value("location.href !== 'about:blank' && document.readyState === 'complete'"))

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page; None while another page is on its way."""
        answer = self._do("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer.get("result", {}).get("value")

    def press(self, selector: str) -> None:
        """Press the middle of what the selector finds, with the mouse, and wait for the page that it leads to.

        It is pressed again where it leads nowhere: the page may have been renewed while the button was down.
        """
        self.value("window.here = true")
        place = f"document.querySelector({json.dumps(selector)})"
        pressed = itertools.count()

        def elsewhere() -> bool:
            if next(pressed) % 60 == 0 and self.value(f"Boolean(window.here && {place})"):
                self.value(f"{place}.scrollIntoView({{block: 'center'}})")
                x, y = self.value(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({place}.getBoundingClientRect())")
                for kind in ("mousePressed", "mouseReleased"):
                    self._do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
            return bool(self.value("!window.here && document.readyState === 'complete'"))

        until(elsewhere)

    def picture(self) -> bytes:
        """Return a picture of the whole page, as PNG."""
        return base64.b64decode(self._do("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _do(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        order = {"id": number, "method": method, "params": parameters, **self._session}
        self._orders.write(json.dumps(order).encode() + b"\0")
        self._orders.flush()
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == number:
                result: dict[str, Any] = answer.get("result", {})
                return result

    def _message(self) -> bytes:
        piece = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has gone"
            piece += byte
        return bytes(piece)


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """Open a browser that keeps what it must in `folder`."""
    assert CHROMIUM is not None
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    chromium = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
                f"--user-data-dir={folder / 'profile'}"]  # fmt: skip
    command = [sys.executable, "-c", _AS_3_AND_4, str(theirs_in), str(theirs_out), *chromium]
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stdout=log, stderr=log)
    os.close(theirs_in)
    os.close(theirs_out)
    with os.fdopen(ours_out, "wb") as orders, os.fdopen(ours_in, "rb") as answers:
        try:
            yield Browser(orders, answers)
        finally:
            process.terminate()
            process.wait(60)
