#!/usr/bin/env python3
"""The pictures of the pages: each from a real run against a served emulator, drawn anew by `scripts/pictures`.

What a terminal shows is taken from a real terminal and drawn by rich as SVG; the operators' page is what Chromium shows
of it; the governor's curve is the one that `scripts/bench governor` measured.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType
from rich.text import Text

from connector.bulk.run.live_view import drawn

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "connector" / "docs" / "pictures"
CURVE = ROOT / "scripts" / "benchmarks" / "results" / "governor-dropping.svg"
PROGRAM = (sys.executable, "-m", "connector")
COLUMNS = 112
OPPORTUNITY = "00000003-0000-4000-8000-000000000001"
SVG = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Without fonts that would have to be fetched."""
PAGE = "http://127.0.0.1:8097"
PATIENCE = 60.0


def main() -> int:
    """Draw every picture; return 0."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, emulator(Path(name)) as folder:
        plan = ("plan", OPPORTUNITY, "--won", "--actual-revenue", "1000000")
        draw("plan", f"connector {' '.join(plan)}", on_terminal(folder, *plan))
        close = ("close", OPPORTUNITY, "--won", "--yes")
        draw("close", f"connector {' '.join(close)}", on_terminal(folder, *close))
        draw("log", "connector log", on_terminal(folder, "log"))
        panel(folder)
        report(folder)
        page(folder)
    shutil.copyfile(CURVE, PICTURES / "governor.svg")
    return 0


@contextmanager
def emulator(folder: Path) -> Iterator[Path]:
    """Serve an emulator with the latency of a real service, and give the folder with its settings."""
    command = [*PROGRAM, "emulator", "--port", "0", "--latency", "model", "--env-file", ".env", "--ready-file", "ready"]
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until((folder / "ready").exists)
        with (folder / ".env").open("a", encoding="utf-8") as settings:
            settings.write(f"CONNECTOR_STORE={folder / 'jobs.db'}\n")
        yield folder
    finally:
        process.terminate()
        process.wait()


def on_terminal(folder: Path, *arguments: str) -> Text:
    """Return what a command shows on a terminal."""
    mine, its = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    with subprocess.Popen(
        [*PROGRAM, *arguments], cwd=folder, env=environment, stdin=its, stdout=its, stderr=its
    ) as process:
        os.close(its)
        shown = b""
        try:
            while piece := os.read(mine, 4096):
                shown += piece
        except OSError:  # Linux says so when the other side has closed
            pass
        os.close(mine)
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}: {shown.decode()}")
    return Text.from_ansi(shown.decode().replace("\r\n", "\n").rstrip())


def panel(folder: Path) -> None:
    """Draw the panel of a job in the middle of its run."""
    rows = "".join(f"00000003-0000-4000-8000-{number:012d},lost\n" for number in range(2, 301))
    (folder / "june.csv").write_text(f"opportunityid,outcome\n{rows}", encoding="utf-8")
    run = [*PROGRAM, "bulk", "run", "june.csv", "--job", "june", "--yes"]
    with (folder / "run.log").open("wb") as log, subprocess.Popen(run, cwd=folder, stdout=log, stderr=log) as process:
        data: dict[str, object] = {}
        while process.poll() is None:
            asked = subprocess.run(
                [*PROGRAM, "bulk", "status", "june", "--json"], cwd=folder, capture_output=True, check=False
            )
            status = json.loads(asked.stdout) if asked.stdout.strip() else {}
            if status.get("workers") and status.get("governor") and 90 < int(status.get("closed", 0)) < 250:
                data = status
                break
            time.sleep(0.2)
        process.wait()
    if not data:
        raise RuntimeError(f"The job was over before anybody looked: {(folder / 'run.log').read_text()}")
    draw("panel", "connector bulk run june.csv --job june", drawn(data, datetime.now(UTC).astimezone()))


def report(folder: Path) -> None:
    """Draw the report of the job as a browser shows it."""
    file = folder / "june.html"
    subprocess.run(
        [*PROGRAM, "bulk", "report", "june", "--out", str(file)], cwd=folder, check=True, capture_output=True
    )
    photograph(folder, "report", file.as_uri(), "1000,1200")


def photograph(folder: Path, name: str, address: str, size: str) -> None:
    """Keep what Chromium shows at an address, in a window of this size."""
    subprocess.run(
        [shutil.which("chromium") or "chromium-browser", "--headless", "--no-sandbox", "--hide-scrollbars",
         f"--window-size={size}", "--virtual-time-budget=3000", f"--user-data-dir={folder / 'profile'}",
         f"--screenshot={PICTURES / f'{name}.png'}", address],
        check=True, capture_output=True,
    )  # fmt: skip


def page(folder: Path) -> None:
    """Draw the operators' page, with the job and some operations of flows."""
    environment = {**os.environ, "DATAVERSE_URL": "emulator:page.db", "CONNECTOR_STORE": str(folder / "page-jobs.db")}
    command = [*PROGRAM, "serve", "--port", PAGE.rpartition(":")[2]]
    (empty := folder / "page").mkdir()
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=empty, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: answers(f"{PAGE}/readyz"))
        for number, body in ((21, {"outcome": "won"}), (22, {"outcome": "lost"}), (21, {"outcome": "lost"})):
            post(f"{PAGE}/opportunities/00000003-0000-4000-8000-{number:012d}/close", body)
        photograph(folder, "page", f"{PAGE}/operations-page", "1000,620")
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Return whether an address answers well."""
    try:
        with urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def post(url: str, body: dict[str, str]) -> None:
    """Send a request to the endpoint; a refusal is an answer, too."""
    command = ["curl", "-s", url, "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    subprocess.run(command, check=True, capture_output=True)


def until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened; RuntimeError when it does not."""
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end:
            raise RuntimeError("It did not happen in time.")
        time.sleep(0.1)


def draw(name: str, title: str, shown: RenderableType) -> None:
    """Write what was shown as a picture."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(shown, soft_wrap=True)
    svg = console.export_svg(title=title, code_format=SVG, unique_id=name)
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
