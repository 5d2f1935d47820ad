"""The operations page: what it shows, who may press its buttons, and how it looks in a browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from uuid import UUID

import pytest
import uvicorn
from starlette.testclient import TestClient

from connector.closing.model import Intent, Outcome
from connector.ledger.jobs import Row
from connector.ledger.operation_store import OperationStore
from connector.service import templates
from connector.service.app import create_app
from tests.service.browser import CHROMIUM, Browser, browsing
from tests.service.process import free_port, until
from tests.service.stage import OPTIONS, Stage

PAGE = "/operations-page"


def token(html: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', html)
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
        assert 'class="canceled"' in client.get(PAGE).text


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed here")
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@contextmanager
def served(stage: Stage) -> Iterator[str]:
    """Serve the endpoint on a port of this machine, and give its address."""
    app = create_app(OPTIONS, stage.dependencies())
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.config.port}"
    finally:
        server.should_exit = True
        thread.join()


def troubled(stage: Stage) -> tuple[UUID, UUID]:
    """Have one operation fail for a draft quote, and one put off for ten minutes."""
    failed, waiting = stage.opportunity(1), stage.opportunity(2)
    with stage.client() as client:
        client.post(f"/opportunities/{failed}/close", json={"outcome": "won", "drafts": "leave"})
    with stage.client(workers=0) as client:
        client.post(f"/opportunities/{waiting}/close", json={"outcome": "won", "mode": "accept"})
    worker = stage.ledger.enter("another instance")
    for job, item in OperationStore(stage.ledger).claim(worker, 1):
        worker.requeue(job, [item], 600)
    worker.leave()
    return failed, waiting


def pressed(browser: Browser, url: str, button: str, shows: str) -> None:
    """Press a button until the page shows something: once, or again when the page was renewed at that moment."""

    def shown() -> bool:
        browser.open(f"{url}{PAGE}")
        if browser.value(f"document.querySelector('{button}') !== null"):
            browser.press(button)
        return bool(browser.value(f"document.querySelector('{shows}') !== null"))

    until(shown)


def test_its_buttons_are_pressed_in_a_browser(stage: Stage, browser: Browser) -> None:
    failed, waiting = troubled(stage)
    with served(stage) as url:
        browser.look_like(360, "light")
        pressed(browser, url, "article.waiting button", shows="article.canceled")
        words = browser.value("document.querySelector('article.canceled').innerText")
        assert "The operation was canceled between two attempts. Look at the opportunity" in words
        assert str(waiting) in words
        assert browser.value("document.querySelector('article.canceled button')") is None

        stage.delete_quotes(failed)
        pressed(browser, url, "article.failed button", shows="article.done")
        assert str(failed) in browser.value("document.querySelector('article.done').innerText")
        assert browser.value("document.querySelector('article.failed')") is None
    assert (stage.state(failed)[0], stage.state(waiting)[0]) == (1, 0)


def test_a_button_of_an_outdated_page_says_so_and_the_page_goes_on(stage: Stage, browser: Browser) -> None:
    troubled(stage)
    with served(stage) as url:
        browser.look_like(1280, "dark")

        def declined() -> bool:
            browser.open(f"{url}{PAGE}")
            browser.value("document.querySelector('article.failed input[name=token]').value = 'of yesterday'")
            browser.press("article.failed button")
            return "was outdated" in str(browser.value("document.querySelector('.notice')?.innerText"))

        until(declined)
        until(lambda: browser.value(f"location.pathname === '{PAGE}' && !document.querySelector('.notice')"))
        assert browser.value("document.querySelector('article.failed button') !== null")


def test_a_button_that_comes_too_late_is_declined_on_the_page(stage: Stage) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:
        done = client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"}).json()["operationId"]
        refused = {"outcome": "won", "drafts": "leave"}  # its button gives the token
        client.post(f"/opportunities/{stage.opportunity(1)}/close", json=refused)
        form = {"token": token(client.get(PAGE).text)}
        for action, said in (("retry", "has not failed"), ("cancel", "cannot be canceled")):
            answer = client.post(f"{PAGE}/{done}/{action}", data=form, follow_redirects=False)
            assert answer.status_code == 409
            assert said in answer.text
            assert 'class="notice"' in answer.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_a_phone_a_tablet_and_a_desk(stage: Stage, browser: Browser, width: int, scheme: str) -> None:
    troubled(stage)
    with served(stage) as url:
        browser.look_like(width, scheme)
        browser.open(f"{url}{PAGE}")
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")
        assert browser.value("[...document.querySelectorAll('button')].every(b => b.offsetHeight >= 44)")
        ground = browser.value("getComputedStyle(document.body).backgroundColor")
        dark = sum(int(part) for part in re.findall(r"\d+", ground)[:3]) < 384
        assert dark == (scheme == "dark")


def luminance(colour: str) -> float:
    """Return how light a colour is, from 0 to 1 (WCAG 2.2, relative luminance)."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("ground", ["ground", "card"])
def test_its_words_can_be_read_by_day_and_by_night(mode: str, ground: str) -> None:
    style = resources.files(templates).joinpath("page.css").read_text()
    light, _, dark = style.partition("@media (prefers-color-scheme:dark)")
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})\b", light if mode == "light" else dark.partition("}}")[0]))
    below = luminance(colours[ground])
    for ink in ("ink", "quiet", "main", "bad", "wait"):
        above = luminance(colours[ink])
        assert (max(above, below) + 0.05) / (min(above, below) + 0.05) >= 4.5, (ink, ground)
