"""The operations page: what it shows, who may press its buttons, and how it looks in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from connector.bulk.ledger.model import Row
from connector.closing.model import Intent, Outcome
from connector.service.page_style import STYLE
from tests.service.stage import Stage

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
PAGE = "/operations-page"


def token(html: str) -> str:
    found = re.search(r"name=token value=([0-9a-f]{64})", html)
    assert found
    return found[1]


def test_it_shows_operations_and_bulk_jobs_without_customer_text(stage: Stage) -> None:
    done, other = stage.opportunity(1), stage.opportunity()
    stage.ledger.create("<b>march</b>", [Row(1, Intent(other, Outcome.WON))])
    with stage.client() as client:
        client.post(f"/opportunities/{done}/close", json={"outcome": "won", "description": "Secret remark"})
        client.post(f"/opportunities/{done}/close", json={"outcome": "lost"})
        answer = client.get(PAGE)
    assert str(done) in answer.text
    assert "Reopen it first if that is wanted." in answer.text
    assert "&lt;b&gt;march&lt;/b&gt;" in answer.text
    assert "0 of 1: 1 pending." in answer.text
    assert "Secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text


def test_it_needs_the_same_sign_in(stage: Stage) -> None:
    with stage.client() as client:
        stranger = TestClient(client.app, base_url="https://close.contoso.com", client=("192.0.2.7", 1))
        assert stranger.get(PAGE).status_code == 403


def test_a_button_works_with_the_pages_own_token_only(stage: Stage) -> None:
    opportunity = stage.opportunity()
    with stage.client(workers=0) as client:
        operation = client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won", "mode": "accept"}).json()
        address = f"{PAGE}/{operation['operationId']}/cancel"
        assert client.post(address).status_code == 403
        assert client.post(address, data={"token": "0" * 64}).status_code == 403
        pressed = client.post(address, data={"token": token(client.get(PAGE).text)}, follow_redirects=False)
        assert (pressed.status_code, pressed.headers["location"]) == (303, PAGE)
        assert "class=canceled" in client.get(PAGE).text


def test_what_failed_can_be_tried_again_when_the_reason_is_gone(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        path = f"/opportunities/{opportunity}/close"
        failed = client.post(path, json={"outcome": "won", "drafts": "leave"}, headers={"Idempotency-Key": "k"})
        assert failed.status_code == 409
        stage.delete_quotes(opportunity)
        operation = failed.headers["Operation-Id"]
        client.post(f"{PAGE}/{operation}/retry", data={"token": token(client.get(PAGE).text)}, follow_redirects=False)
        answer = client.post(path, json={"outcome": "won", "drafts": "leave"}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["operationId"]) == (200, operation)


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed here")
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_a_browser_shows_it_on_a_phone_and_a_desk_without_scrolling_sideways(
    stage: Stage, tmp_path: Path, width: int
) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"})
        html = client.get(PAGE).text.replace("<meta http-equiv=refresh content=5>", "")
    measuring = "<script>document.title=document.documentElement.scrollWidth<=innerWidth</script>"
    (tmp_path / "page.html").write_text(html + measuring, encoding="utf-8")
    assert BROWSER is not None
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},800",
               f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "page.html").as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout  # noqa: S603 - found on the path
    assert "<title>true</title>" in shown


def luminance(colour: str) -> float:
    """Return how light a colour is, from 0 to 1 (WCAG 2.2, relative luminance)."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("ground", ["ground", "card"])
def test_its_words_can_be_read_by_day_and_by_night(mode: str, ground: str) -> None:
    light, _, dark = STYLE.partition("@media (prefers-color-scheme:dark)")
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})\b", light if mode == "light" else dark.partition("}}")[0]))
    below = luminance(colours[ground])
    for ink in ("ink", "quiet", "main", "bad", "wait"):
        above = luminance(colours[ink])
        assert (max(above, below) + 0.05) / (min(above, below) + 0.05) >= 4.5, (ink, ground)
