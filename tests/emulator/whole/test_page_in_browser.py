"""The page in a real browser: it loads, fits, can be read in light and dark, and asks nobody else for anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.whole.browser import Browser, browser, chromium

VIEWS = ("journal", "data", "referee", "rules", "settings")
CONTRAST = """
(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((one) => {
      const part = one / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let worst = 21, where = "";
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim())) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst) { worst = ratio; where = node.tagName + " " + node.textContent.slice(0, 40); }
  }
  return [worst, where];
})()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[ServedEmulator]:
    if chromium() is None:
        pytest.skip("left out: the page in a browser, since there is no Chromium on this machine")
    with served(EmulatorOptions(), SystemClock(), tmp_path_factory.mktemp("emulator"), keys) as one:
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(one.ca_file)
            session.get(f"{one.url}/api/data/v9.2/WhoAmI", timeout=120)
            form = {"client_id": one.client_id, "client_secret": one.client_secret, "scope": f"{one.url}/.default"}
            url = f"{one.authority}/oauth2/v2.0/token"
            token = session.post(url, data={**form, "grant_type": "client_credentials"}, timeout=120).json()
            session.headers["Authorization"] = f"Bearer {token['access_token']}"
            session.get(f"{one.url}/api/data/v9.2/opportunities?$top=3", timeout=120)
            session.get(f"{one.url}/api/data/v9.2/nothings", timeout=120)
            session.patch(f"{one.url}/_emulator/limits", json={"requests": 2}, timeout=120)
            session.get(f"{one.url}/api/data/v9.2/WhoAmI", timeout=120)
        yield one


@pytest.fixture(scope="module")
def page(server: ServedEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    del server
    with browser(tmp_path_factory.mktemp("profile"), 1280, 900) as one:
        yield one


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read(server: ServedEmulator, page: Browser, view: str, scheme: str) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.open(f"{server.url}/_emulator/?view={view}")
    assert page.value("document.querySelector('[aria-current]').textContent").lower() == view
    worst, where = page.value(CONTRAST)
    assert worst >= 4.5, f"contrast {worst:.2f} at {where}"


def test_light_and_dark_differ(server: ServedEmulator, page: Browser) -> None:
    seen = set()
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.open(f"{server.url}/_emulator/")
        seen.add(page.value("getComputedStyle(document.body).backgroundColor"))
    assert len(seen) == 2


@pytest.mark.parametrize("width", [320, 390, 800, 900, 1280])
@pytest.mark.parametrize(
    "view", [*VIEWS, "journal&entry=2", "journal&entry=3", "data&row=00000003-0000-4000-8000-000000000005"]
)
def test_nothing_sticks_out_sideways(server: ServedEmulator, page: Browser, view: str, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    page.open(f"{server.url}/_emulator/?view={view}")
    assert page.value("document.documentElement.scrollWidth") <= width
    inside = "[...document.querySelectorAll('.sheet')].every((one) => one.scrollWidth <= one.clientWidth)"
    assert page.value(inside), "a table is wider than the sheet it stands on"


@pytest.mark.parametrize("view", VIEWS)
def test_on_a_phone_a_row_is_a_card_and_no_text_is_squeezed(server: ServedEmulator, page: Browser, view: str) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=False)
    page.open(f"{server.url}/_emulator/?view={view}")
    narrowest = page.value(
        "Math.min(999, ...[...document.querySelectorAll('td.wide')].map((one) => one.getBoundingClientRect().width))"
    )
    assert narrowest >= 280
    rows_of_tabs = "new Set([...document.querySelectorAll('nav a')].map((one) => one.offsetTop)).size"
    assert page.value(rows_of_tabs) == 1


def test_a_click_leads_to_a_request_and_back(server: ServedEmulator, page: Browser) -> None:
    page.open(f"{server.url}/_emulator/")
    page.events.clear()
    page.value("setTimeout(() => document.querySelector('tbody a').click(), 0)")  # after this call is answered
    page.wait_until_loaded()
    assert page.value("document.querySelector('h2').textContent").startswith("Request ")
    assert page.value("document.querySelectorAll('.facts dt').length") == 8


def test_the_page_asks_nobody_else_and_complains_of_nothing(server: ServedEmulator, page: Browser) -> None:
    for view in VIEWS:
        page.open(f"{server.url}/_emulator/?view={view}")
        asked = [one["params"]["request"]["url"] for one in page.events if one["method"] == "Network.requestWillBeSent"]
        assert all(url.startswith((server.url, "data:")) for url in asked), asked
        assert not [one for one in page.events if one["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
