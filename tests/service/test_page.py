"""The operations page: what it shows, who may press its buttons, and how it looks in a browser."""

from __future__ import annotations

import html
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib import resources
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import uvicorn
from starlette.testclient import TestClient

from connector.closing.model import Intent, Outcome
from connector.ledger import operation_store
from connector.ledger.jobs import ItemResult, ItemStatus, Row
from connector.ledger.liveness import worker_key
from connector.ledger.operation_store import OperationStore
from connector.ledger.shared_state import remember
from connector.service import templates
from connector.service.app import create_app
from connector.service.templates import operations_page
from tests.days import zone_of_another_day
from tests.service.browser import CHROMIUM, Browser, browsing
from tests.service.process import until
from tests.service.stage import OPTIONS, Stage

PAGE = "/operations-page"
ACCEPT = {"outcome": "won", "mode": "accept"}
LEAVE = {"outcome": "won", "drafts": "leave"}


def token(page: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
    assert found
    return found[1]


def test_it_shows_operations_and_bulk_jobs_with_names_and_links_and_nothing_of_what_was_asked(stage: Stage) -> None:
    done, other = stage.opportunity(1), stage.opportunity()
    stage.ledger.create("<b>march</b>", [Row(1, Intent(other, Outcome.WON))])
    with stage.client() as client:
        client.post(f"/opportunities/{done}/close", json={"outcome": "won", "description": "Secret remark"})
        client.post(f"/opportunities/{done}/close", json={"outcome": "lost"})
        answer = client.get(PAGE)
    link = f"{stage.embedded.url}/main.aspx?pagetype=entityrecord&amp;etn=opportunity&amp;id={done}"
    assert f'href="{link}"' in answer.text
    assert re.search(r">Secret Name 1<span", answer.text)
    assert "<td>developer</td>" in answer.text
    assert str(done) in answer.text
    assert "Reopen it first if that is wanted." in answer.text
    assert "&lt;b&gt;march&lt;/b&gt;" in answer.text
    assert "0 of 1: 1 pending." in answer.text
    assert "Secret remark" not in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script(?! src=)|\son\w+=", answer.text), "nothing runs that is not a file of ours"


def test_it_says_how_a_job_goes_that_somebody_works_on_and_what_holds_it(stage: Stage) -> None:
    stage.ledger.create("march", [Row(1, Intent(stage.opportunity(1), Outcome.WON))])
    worker = stage.ledger.enter("here", "march")
    pace = {
        "binding": "waiting",
        "waiting": 287.4,
        "rate": 12.5,
        "ceiling": 3.0,
        "left": None,
        "users": [{"requests": 3}],
    }
    with stage.client() as client:
        assert "Now: " not in client.get(PAGE).text
        remember(stage.ledger, worker_key(worker.id), pace)
        for page in (client.get(PAGE).text, client.get(f"{PAGE}/job?name=march").text):
            assert (
                "0 of 1: 1 pending. Now: 12.5 rows/s in the last 30 s; the limits allow 3.0, limited by the wait that"
                " the service asked for (Retry-After), time left not known yet, waiting 5 min more."
            ) in page
        worker.leave()
        assert "Now: " not in client.get(PAGE).text


def test_it_needs_the_same_sign_in(stage: Stage) -> None:
    with stage.client() as client:
        stranger = TestClient(client.app, base_url="https://close.contoso.com", client=("192.0.2.7", 1))
        assert stranger.get(PAGE).status_code == 403


def test_a_person_is_told_of_a_failure_on_a_page_and_a_program_in_json(stage: Stage) -> None:
    person = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with stage.client(requests_per_minute=9, workers=0) as client:
        with stage.ledger.database.transaction() as transaction:
            transaction.run("ALTER TABLE job RENAME TO gone")
        failures = [
            (client.get(PAGE, headers=person), 503, "The endpoint cannot use its store now."),
            (client.get(f"{PAGE}/nothing", headers=person), 404, "There is nothing at this address."),
            (client.post(f"{PAGE}/sign-out", headers=person), 403, "The page is out of date"),
            (client.put(PAGE, headers=person), 405, "Method Not Allowed"),
        ]
        programs = client.get(PAGE)
        with stage.ledger.database.transaction() as transaction:
            transaction.run("ALTER TABLE gone RENAME TO job")
        failures.append((client.get(f"{PAGE}/job?name=none", headers=person), 404, "There is no such bulk job"))
        while (last := client.get(PAGE, headers=person)).status_code != 429:
            assert last.status_code == 200
        failures.append((last, 429, "This connection has sent too many requests"))
    for answer, status, sentence in failures:
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert f'<p class="notice" role="alert">{sentence}' in answer.text
        assert f'href="{PAGE}">Show the operations</a>' in answer.text
        assert f"correlation id <code>{answer.headers['x-ms-request-id']}</code>" in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert (programs.status_code, programs.json()["error"]["code"]) == (503, "store_unavailable")


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


def operations_of(page: str) -> list[str]:
    return re.findall(rf'action="{PAGE}/([0-9a-f]+)/', page)


def test_it_lists_fifty_at_a_time_and_says_of_how_many(stage: Stage) -> None:
    with stage.client(workers=0) as client:
        made = [
            client.post(f"/opportunities/{stage.opportunity()}/close", json=ACCEPT).json()["operationId"]
            for _ in range(53)
        ]
        pages = [client.get(PAGE).text, client.get(f"{PAGE}?page=2").text, client.get(f"{PAGE}?page=9").text]
    assert [operations_of(page) for page in pages] == [made[:2:-1], made[2::-1], made[2::-1]], (
        "beyond the end is the end"
    )
    assert "1 to 50 of 53 operations" in pages[0]
    assert "51 to 53 of 53 operations" in pages[1]
    assert ["page-before" in pages[0], "page-after" in pages[0], "page-before" in pages[1], "page-after" in pages[1]] == [
        False, True, True, False,
    ]  # fmt: skip


def test_it_is_filtered_by_state_cause_text_and_the_viewers_day(stage: Stage) -> None:
    zone = zone_of_another_day()
    with stage.client() as client:
        drafts = client.post(f"/opportunities/{stage.opportunity(1)}/close", json=LEAVE).headers["Operation-Id"]
        lost = stage.opportunity()
        client.post(f"/opportunities/{lost}/close", json={"outcome": "lost"})
        other = client.post(f"/opportunities/{lost}/close", json={"outcome": "won"}).headers["Operation-Id"]

        def ids(query: str) -> list[str]:
            return sorted(re.findall(r'id="more-([0-9a-f]+)"', client.get(f"{PAGE}?{query}").text))

        assert ids("status=failed") == sorted([drafts, other])
        assert ids("cause=drafts_stand") == [drafts]
        assert ids(f"text={str(lost).upper()}&cause=closed_with_other_outcome") == [other]
        assert ids("text=secret+name+1") == [drafts]
        assert ids("text=nobody+knows") == []
        today = datetime.now(ZoneInfo(zone)).date()
        assert len(ids(f"day={today}&zone={zone}")) == 3
        assert ids(f"day={today + timedelta(days=1)}&zone={zone}") == []
        client.post(f"/opportunities/{lost}/close", json={"outcome": "lost", "competitor": "Nobody"})
        page = client.get(PAGE).text
    assert "drafts stand (1)" in page
    assert "invalid request (1)" in page, "the catalogue's word"
    assert re.search(r"<b>3</b> failed", page)


def test_a_text_is_looked_for_among_the_newest_and_says_so_and_an_id_among_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (operation_store, operations_page):
        monkeypatch.setattr(module, "MOST_SEARCHED", 2)
    with stage.client(workers=0) as client:
        ids = [stage.opportunity() for _ in range(3)]
        trace = {"traceparent": f"00-{'a1' * 16}-{'b2' * 8}-01"}
        made = [client.post(f"/opportunities/{id_}/close", json=ACCEPT, headers=trace).json() for id_ in ids]

        def shown(text: str) -> tuple[list[str], bool]:
            page = client.get(f"{PAGE}?text={text}").text
            return operations_of(page), "1 older ones were not looked through" in page

        names = [one["operationId"] for one in made]
        assert shown("developer") == (names[:0:-1], True)
        assert shown(str(ids[0]).upper()) == shown(names[0]) == (names[:1], False)
        assert shown("a1" * 16) == (names[::-1], False)


@pytest.mark.parametrize(
    "query", ["status=%00&page=-1", "page=99999999999", "day=9999-12-31&zone=../../etc/passwd", "text=" + "x" * 5000]
)
def test_a_filter_that_nobody_can_mean_shows_the_page_all_the_same(stage: Stage, query: str) -> None:
    with stage.client() as client:
        assert client.get(f"{PAGE}?{query}").status_code == 200


def test_many_are_tried_again_once_their_number_was_answered(stage: Stage) -> None:
    opportunities = [stage.opportunity(1) for _ in range(3)]
    with stage.client() as client:
        failed = [
            client.post(f"/opportunities/{one}/close", json=LEAVE).headers["Operation-Id"] for one in opportunities
        ]
        for one in opportunities:
            stage.delete_quotes(one)
        form = {"token": token(client.get(PAGE).text), "back": "status=failed"}
        asked = client.post(f"{PAGE}/retry", data={**form, "operation": failed[:2]})
        assert "Yes, try 2 again" in asked.text
        assert "Yes, try 3 again" in client.post(f"{PAGE}/retry", data={**form, "all": "1"}).text
        assert "has changed meanwhile" in client.post(f"{PAGE}/retry", data={**form, "all": "1", "count": "2"}).text
        assert client.post(f"{PAGE}/retry", data=form).status_code == 409, "none chosen is not all"
        assert {stage.state(one)[0] for one in opportunities} == {0}, "asking back does nothing"
        assert client.post(f"{PAGE}/retry", data=form | {"token": "0" * 64}).status_code == 403
        answer = client.post(f"{PAGE}/retry", data={**form, "all": "1", "count": "3"}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?status=failed")
        until(lambda: {stage.state(one)[0] for one in opportunities} == {1})
        none = client.post(f"{PAGE}/retry", data={**form, "all": "1"})
    assert none.status_code == 409


def test_a_store_that_is_slow_is_not_waited_for_until_all_are_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        client.post(f"/opportunities/{opportunity}/close", json=LEAVE)
        stage.delete_quotes(opportunity)
        form = {"token": token(client.get(PAGE).text), "all": "1", "count": "1"}
        monkeypatch.setattr(operations_page, "STORE_SECONDS", -1.0)
        answer = client.post(f"{PAGE}/retry", data=form)
    assert answer.status_code == 503
    assert "The store is slow: 0 of 1 are tried again." in answer.text
    assert stage.state(opportunity)[0] == 0


def test_a_bulk_job_leads_to_its_rows_that_were_not_done_with_the_reason_of_each(stage: Stage) -> None:
    stage.ledger.create("march", [Row(number, Intent(UUID(int=number), Outcome.WON)) for number in range(1, 61)])
    worker, job = stage.ledger.enter("test", "march"), stage.ledger.job("march")
    refused = {"reason": "A draft quote stands in the way.", "reason_code": "drafts_stand"}
    failure = (ItemStatus.FAILED, "Rejected", {"error": {"message": "A plug-in says no.", "remedy": "Ask its owner."}})
    results = {60: failure, 59: (ItemStatus.CLOSED, "", {})}
    other = (ItemStatus.REFUSED, "drafts_stand", refused)
    while items := worker.claim(job, 60):
        worker.record(job, [ItemResult(item.row, item.epoch, *results.get(item.row, other)) for item in items])
    worker.leave()
    with stage.client() as client:
        page = client.get(PAGE).text
        assert 'class="job failed"' in page
        assert f'href="{PAGE}/job?name=march"' in page
        first = client.get(f"{PAGE}/job?name=march").text
        further = client.get(f"{PAGE}/job?name=march&after=50").text
        rejected = client.get(f"{PAGE}/job?name=march&cause=Rejected").text
        drafts = client.get(f"{PAGE}/job?name=march&cause=drafts_stand&after=50").text
        assert client.get(f"{PAGE}/job?name=march&cause=nonsense").text.count("A draft quote stands in the way.") == 50
        assert client.get(f"{PAGE}/job?name=april").status_code == 404
    assert f'href="{PAGE}/job?name=march&amp;cause=drafts_stand">drafts stand (58)</a>' in first
    assert "50 of 59, in the order of the file" in first
    assert "<code>connector bulk retry march --refused</code>" in first
    assert "Times are" not in first
    assert first.count("A draft quote stands in the way.") == 50
    assert [further.count("A draft quote stands in the way."), drafts.count("A draft quote stands in the way.")] == [
        8,
        8,
    ]
    assert [text.count("A plug-in says no. Ask its owner.") for text in (further, rejected, drafts)] == [1, 1, 0]
    assert "1 of 1, in the order of the file" in rejected
    assert f"id={UUID(int=60)}" in rejected


def test_what_has_not_changed_is_not_sent_again(stage: Stage) -> None:
    with stage.client() as client:
        address = html.unescape(re.findall(r'hx-get="([^"]+)"', client.get(PAGE).text)[0])
        assert client.get(address).status_code == 204
        client.post(f"/opportunities/{stage.opportunity()}/close", json=ACCEPT)
        assert client.get(address).status_code == 200


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
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
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
        pressed(browser, url, "tr.waiting button", shows="tr.canceled")
        words = browser.value("document.querySelector('tr.canceled').innerText")
        assert "The operation was canceled between two attempts. Look at the opportunity" in words
        assert str(waiting) in words
        assert browser.value("document.querySelector('tr.canceled button')") is None

        stage.delete_quotes(failed)
        pressed(browser, url, "tr.failed button", shows="tr.done")
        assert str(failed) in browser.value("document.querySelector('tr.done').innerText")
        assert browser.value("document.querySelector('tr.failed')") is None
    assert (stage.state(failed)[0], stage.state(waiting)[0]) == (1, 0)


def test_a_button_of_an_outdated_page_says_so_and_the_page_goes_on(stage: Stage, browser: Browser) -> None:
    troubled(stage)
    with served(stage) as url:
        browser.look_like(1280, "dark")

        def declined() -> bool:
            browser.open(f"{url}{PAGE}")
            browser.value("document.querySelector('tr.failed input[name=token]').value = 'of yesterday'")
            browser.press("tr.failed button")
            return "is out of date" in str(browser.value("document.querySelector('.notice')?.innerText"))

        until(declined)
        assert browser.value("document.querySelector('tr.failed button') !== null")


def test_news_arrive_without_taking_focus_choice_or_place(stage: Stage, browser: Browser) -> None:
    """The list is renewed in place: who has chosen, opened or focused something, or has scrolled, keeps that."""
    troubled(stage)
    with served(stage) as url, stage.client(workers=0) as client:
        browser.look_like(360, "light")
        browser.open(f"{url}{PAGE}")
        until(lambda: browser.value("document.querySelector('[data-zone]').textContent !== 'UTC' || zone === 'UTC'"))
        assert browser.value("[...document.querySelectorAll('time')].every(t => t.title.endsWith('UTC'))")
        browser.value(
            "document.querySelector('#news [type=checkbox]').checked = true; document.querySelector('#news details').open = true;"
            "document.querySelector('tr.failed button').focus({preventScroll: true}); window.scrollTo(0, 300)"
        )
        here = browser.value("document.activeElement.id")
        client.post(f"/opportunities/{stage.opportunity()}/close", json=ACCEPT)

        def renewed() -> bool:
            browser.value("document.getElementById('news').dispatchEvent(new Event('renew'))")
            return bool(browser.value("document.querySelectorAll('tbody tr').length === 3"))

        until(renewed)
        assert browser.value("document.activeElement.id") == here != ""
        assert browser.value("scrollY") == 300
        assert browser.value("document.querySelectorAll('#news input:checked').length") == 1
        assert browser.value("document.querySelectorAll('#news details[open]').length") == 1
        assert browser.value("document.getElementById('renewed').textContent").startswith("The list was renewed at")
        assert browser.value("[...document.querySelectorAll('[role=status], [aria-live]')].map(e => e.id)") == [
            "changed"
        ]
        counts = browser.value("document.getElementById('changed').textContent")
        assert counts == browser.value("[...document.querySelectorAll('.counts a')].map(e => e.textContent).join(', ')")
        again = (
            "(() => { const seen = new MutationObserver(() => {});"
            " seen.observe(document.getElementById('changed'), {childList: true});"
            " tell('Renewed.', counts()); return seen.takeRecords().length; })()"
        )
        assert browser.value(again) == 0, "a screen reader is told of what has changed, not of each renewal"


def test_a_screen_reader_finds_its_way(stage: Stage, browser: Browser) -> None:
    troubled(stage)
    with served(stage) as url:
        browser.look_like(1280, "light")
        browser.open(f"{url}{PAGE}")
        assert browser.value("['header', 'main', 'footer', 'nav'].every(name => document.querySelector(name))")
        assert browser.value("document.querySelectorAll('th[scope=col]').length") == 7
        unnamed = (
            "[...document.querySelectorAll('input:not([type=hidden]), select, button, a')].filter(e => "
            "!(e.labels?.length || e.ariaLabel || e.textContent.trim())).map(e => e.outerHTML)"
        )
        assert browser.value(unnamed) == []
        ids = browser.value("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        browser.value("document.querySelector('.skip').focus()")
        assert browser.value("document.querySelector('.skip').getBoundingClientRect().x >= 0")


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
