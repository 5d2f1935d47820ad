"""Change tracking: delta links that lose nothing, with deletions, pages and tokens that expire."""

from __future__ import annotations

import random
import re
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.stranger.wire import Json, Stranger

TRACK = "odata.track-changes"


def follow(client: Stranger, link: str, **headers: str) -> tuple[list[Json], str]:
    """Read every page; return the rows and the delta link of the last one."""
    rows: list[Json] = []
    while True:
        page = client.read(link, **headers)
        rows += page["value"]
        if "@odata.deltaLink" in page:
            assert "@odata.nextLink" not in page
            return rows, str(page["@odata.deltaLink"])
        link = page["@odata.nextLink"]


def test_a_delta_link_has_the_documented_token(anywhere: Stranger) -> None:
    answer = anywhere.send("GET", "accounts?$select=name", Prefer=TRACK)
    assert answer.headers["Preference-Applied"] == TRACK
    link = answer.json()["@odata.deltaLink"]
    assert re.fullmatch(r".*/accounts\?\$select=name&\$deltatoken=\d+%21\d\d%2f\d\d%2f\d{4}%20\d\d%3a\d\d%3a\d\d", link)
    assert unquote(link).endswith("01/01/2026 00:00:00")


def test_what_changed_and_what_went_come_once(anywhere: Stranger) -> None:
    kept, changed, gone = (anywhere.create("accounts", {"name": name}) for name in ("kept", "changed", "gone"))
    rows, link = follow(anywhere, "accounts?$select=name", Prefer=TRACK)
    assert {kept, changed, gone} <= {row["accountid"] for row in rows}
    assert follow(anywhere, link)[0] == []
    anywhere.send("PATCH", f"accounts({changed})", {"name": "anew"})
    anywhere.send("DELETE", f"accounts({gone})")
    born = anywhere.create("accounts", {"name": "born"})
    page = anywhere.read(link)
    assert page["@odata.context"].endswith("$metadata#accounts(name)/$delta")
    assert [row.get("name") for row in page["value"]] == ["anew", "born", None]
    assert page["value"][1]["accountid"] == born
    assert page["value"][2] == {
        "@odata.context": f"{anywhere.api}$metadata#accounts/$deletedEntity", "id": gone, "reason": "deleted",
    }  # fmt: skip
    assert follow(anywhere, page["@odata.deltaLink"])[0] == []
    assert anywhere.send("GET", link.replace("accounts?$select=name&", "accounts/$count?")).text == "3"


def test_closing_shows_in_the_changes_of_opportunities(stranger: Stranger) -> None:
    deal = stranger.deal()
    _, link = follow(stranger, "opportunities?$select=statecode", Prefer=TRACK)
    stranger.close("LoseOpportunity", deal, 5)
    (row,) = follow(stranger, link)[0]
    assert (row["opportunityid"], row["statecode"]) == (deal, 2)


def test_deleting_a_quote_is_seen_and_its_opportunity_is_not(stranger: Stranger) -> None:
    offer = stranger.offer(stranger.deal())
    _, quotes = follow(stranger, "quotes?$select=name", Prefer=TRACK)
    _, deals = follow(stranger, "opportunities?$select=name", Prefer=TRACK)
    stranger.send("DELETE", f"quotes({offer})")
    assert [row["id"] for row in follow(stranger, quotes)[0]] == [offer]
    assert follow(stranger, deals)[0] == []


def test_six_thousand_rows_come_in_pages_of_five_thousand(stranger: Stranger) -> None:
    stranger.control("POST", "seed", {"account": [{"name": f"{number}"} for number in range(6000)]})
    first = stranger.read("accounts?$select=name", Prefer=TRACK)
    assert len(first["value"]) == 5000
    assert 'istracking="True"' in unquote(first["@odata.nextLink"])
    rows, link = follow(stranger, first["@odata.nextLink"])
    assert len({row["accountid"] for row in first["value"] + rows}) == 6000
    assert follow(stranger, link)[0] == []


@pytest.mark.parametrize("option", ["$filter=name eq 'x'", "$orderby=name", "$expand=createdby", "$top=1"])
def test_other_options_are_refused_in_the_documented_words(stranger: Stranger, option: str) -> None:
    _, _, words = stranger.refused("GET", f"accounts?{option}", Prefer=TRACK)
    name = option[1:].partition("=")[0]
    assert words == f'The "{name}" query parameter isn\'t supported when Change Tracking is enabled.'


def test_a_token_is_good_for_seven_days(stranger: Stranger) -> None:
    _, link = follow(stranger, "accounts?$select=name", Prefer=TRACK)
    stranger.pass_time(7 * 86400)
    assert stranger.sign_in().send("GET", link).status_code == 200
    stranger.pass_time(1)
    assert stranger.refused("GET", link)[0] == 400


@pytest.mark.parametrize("token", ["x", "1", "1!x", "!01/01/2026 00:00:00", "1!31/31/2026 00:00:00", ""])
def test_a_token_that_is_none_is_refused(stranger: Stranger, token: str) -> None:
    assert stranger.send("GET", f"accounts?$deltatoken={token}").status_code == 400


def test_a_table_without_change_tracking_says_so(stranger: Stranger) -> None:
    assert stranger.refused("GET", "opportunitycloses", Prefer=TRACK)[:2] == (400, "0x80072491")


class Copy:
    """A copy of a table, kept up to date by delta links of pages of `size`."""

    def __init__(self, client: Stranger, size: int) -> None:
        self._client = client
        self._link, self._prefer = "competitors?$select=name", f"{TRACK}, odata.maxpagesize={size}"
        self._size = size
        self.rows: dict[str, str] = {}

    def page(self) -> bool:
        """Take one page over; return whether it was the last one."""
        page = self._client.read(self._link, Prefer=self._prefer)
        for row in page["value"]:
            if row.get("reason") == "deleted":
                self.rows.pop(row["id"], None)
            else:
                self.rows[row["competitorid"]] = row["name"]
        self._link = page.get("@odata.nextLink") or page["@odata.deltaLink"]
        self._prefer = f"odata.maxpagesize={self._size}"
        return "@odata.deltaLink" in page


def meddle(client: Stranger, chance: random.Random, alive: dict[str, str]) -> None:
    """Create, change or delete up to two rows."""
    for _ in range(chance.randrange(3)):
        what, name = chance.choice("cuud"), f"{chance.random()}"
        key = chance.choice(sorted(alive)) if alive else ""
        if what == "c" or not key:
            alive[client.create("competitors", {"name": name})] = name
        elif what == "u":
            client.send("PATCH", f"competitors({key})", {"name": name})
            alive[key] = name
        else:
            client.send("DELETE", f"competitors({key})")
            del alive[key]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), size=st.integers(1, 4))
def test_whoever_follows_the_links_knows_the_table_whatever_happens_meanwhile(
    stranger: Stranger, seed: int, size: int
) -> None:
    chance = random.Random(seed)
    for row in stranger.read("competitors?$select=name")["value"]:
        stranger.send("DELETE", f"competitors({row['competitorid']})")
    copy, alive = Copy(stranger, size), dict[str, str]()
    for _ in range(20):
        meddle(stranger, chance, alive)
        copy.page()
    while not copy.page():
        pass
    while not copy.page():
        pass
    assert copy.rows == alive
