"""Without the extra `emulator`: the embedded organization works, the socket says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from connector.emulator.http.tls import certificates

ROOT = Path(__file__).parents[3]
WITHOUT = "import sys\nfor name in ('httptools', 'uvloop', 'trustme', 'jinja2'): sys.modules[name] = None\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_embedded_organization_works_without_it() -> None:
    code = (
        "from connector.clock import VirtualClock\nfrom connector.emulator.embedded import open_embedded\n"
        "from connector.handler import Request\nimport connector.emulator.pytest_plugin\n"
        "made = open_embedded(':memory:', VirtualClock())\n"
        "print(made.handler(Request('GET', made.url + '/_emulator/health', {}, b'')).status)"
    )
    result = run(code)
    assert (result.stdout.strip(), result.stderr) == ("200", "")


@pytest.mark.parametrize("kept", [True, False])
def test_the_socket_names_the_extra(tmp_path: Path, kept: bool) -> None:
    if kept:
        certificates(tmp_path)
    missing = "httptools" if kept else "trustme"
    result = run(f"from connector.cli import main\nmain(['emulator', '--folder', {str(tmp_path)!r}])")
    assert result.returncode != 0
    assert f"The emulator's socket needs {missing}, which is not installed." in result.stderr
    assert "with the extra emulator" in result.stderr
