"""Any story a client can tell with opportunities and quotes, under any switches, ends as the documents say.

The model below is made of the tables of states in the documents and knows nothing of the emulator's code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.stranger.wire import Stranger

REASONS = {
    "deal": {0: (1, 2), 1: (3, 100000001), 2: (4, 5, 100000002)},
    "offer": {0: (1,), 1: (2, 3), 2: (4,), 3: (5, 6, 7, 100000003)},
}
"""Status reasons of each state, the organization's own ones included."""
FIRST = {"deal": {0: 1, 1: 3, 2: 4}, "offer": {0: 1, 1: 2, 2: 4, 3: 7}}
"""The default status reason of each state."""
DEALS, OFFERS = 2, 3
SWITCHES = st.fixed_dictionaries(
    {
        "open_quotes_block_close": st.sampled_from(["active_and_draft", "active", "off"]),
        "draft_quote_close": st.sampled_from(["refuse", "accept"]),
        "close_activities_on_reopen": st.sampled_from(["cancel", "keep"]),
        "reopen_open_opportunity": st.sampled_from(["accept", "refuse"]),
        "default_closed_quote_status": st.sampled_from(["metadata", "lost"]),
        "close_row_creation": st.sampled_from(["closes", "only_stores"]),
    }
)


@dataclass
class Row:
    """A row as the documents let one expect it: state, status reason, close activities by state."""

    state: int = 0
    status: int = 1
    standing: int = 0
    canceled: int = 0
    gone: bool = False


@dataclass
class Model:
    """Deals and offers (offer n belongs to deal n modulo their number) under some switches."""

    switches: dict[str, str]
    deals: list[Row] = field(default_factory=lambda: [Row() for _ in range(DEALS)])
    offers: list[Row] = field(default_factory=lambda: [Row() for _ in range(OFFERS)])

    def close(self, kind: str, number: int, state: int, status: int) -> bool:
        """Win, lose or close by message; return whether it is done."""
        row = (self.deals if kind == "deal" else self.offers)[number]
        if status == -1:
            lost = kind == "offer" and state == 3 and self.switches["default_closed_quote_status"] == "lost"
            status = 5 if lost else FIRST[kind][state]
        ready = row.state == 0 and not self._blocked(number) if kind == "deal" else self._ready(row)
        if row.gone or not ready or status not in REASONS[kind][state]:
            return False
        row.state, row.status, row.standing = state, status, row.standing + 1
        return True

    def _ready(self, offer: Row) -> bool:
        return offer.state == 1 or (offer.state == 0 and self.switches["draft_quote_close"] == "accept")

    def _blocked(self, deal: int) -> bool:
        states = {"active_and_draft": (0, 1), "active": (1,), "off": ()}[self.switches["open_quotes_block_close"]]
        return any(one.state in states and not one.gone for one in self.offers[deal::DEALS])

    def update(self, kind: str, number: int, state: int, status: int) -> bool:
        """Set state and status reason (0: leave it out); return whether it is done."""
        row = (self.deals if kind == "deal" else self.offers)[number]
        moves: dict[str, dict[int, tuple[int, ...]]] = {"deal": {0: (0, 1, 2)}, "offer": {0: (0, 1, 2, 3), 1: (0,)}}
        allowed = moves[kind].get(state, ())
        if row.gone or row.state not in allowed or (status and status not in REASONS[kind][state]):
            return False
        if kind == "deal" and row.state == 0 and self.switches["reopen_open_opportunity"] == "refuse":
            return False
        if kind == "deal" and row.state != 0 and self.switches["close_activities_on_reopen"] == "cancel":
            row.standing, row.canceled = 0, row.canceled + row.standing
        row.state, row.status = state, status or FIRST[kind][state]
        return True

    def store_close(self, number: int, status: int) -> bool:
        """Create an opportunityclose row with this status reason of the opportunity; return whether it is done."""
        row = self.deals[number]
        if self.switches["close_row_creation"] == "only_stores":
            row.standing += 1
            return True
        return self.close("deal", number, 2 if status in REASONS["deal"][2] else 1, status)

    def delete(self, number: int) -> bool:
        """Delete an offer; return whether it is done."""
        row = self.offers[number]
        was, row.gone = row.gone, True
        return not was


NUMBERS = {"deal": st.integers(0, DEALS - 1), "offer": st.integers(0, OFFERS - 1)}


def steps(what: str, kind: str, states: tuple[int, ...], reasons: tuple[int, ...]) -> st.SearchStrategy[Step]:
    """Return steps of one kind, towards any of these states with any of these status reasons."""
    return st.tuples(st.just(what), st.just(kind), NUMBERS[kind], st.sampled_from(states), st.sampled_from(reasons))


Step = tuple[str, str, int, int, int]
STEPS = st.one_of(
    steps("close", "deal", (1, 2), (-1, 1, 3, 4, 5, 7, 100000001, 100000002, 100000003)),
    steps("close", "offer", (2, 3), (-1, 2, 4, 5, 6, 7, 100000001, 100000003)),
    steps("update", "deal", (0, 1, 2), (0, 1, 2, 3)),
    steps("update", "offer", (0, 1, 2, 3), (0, 1, 2, 3, 5)),
    steps("row", "deal", (0,), (3, 5, 100000002)),
    steps("delete", "offer", (0,), (0,)),
)
MESSAGES = {
    ("deal", 1): "WinOpportunity",
    ("deal", 2): "LoseOpportunity",
    ("offer", 2): "WinQuote",
    ("offer", 3): "CloseQuote",
}
SETS = {"deal": ("opportunities", "Opportunity_OpportunityClose"), "offer": ("quotes", "Quote_QuoteClose")}


def told(model: Model, step: Step) -> bool:
    what, kind, number, state, status = step
    if what == "close":
        return model.close(kind, number, state, status)
    if what == "update":
        return model.update(kind, number, state, status)
    return model.store_close(number, status) if what == "row" else model.delete(number)


def done(client: Stranger, rows: dict[str, list[str]], step: Step) -> bool:
    what, kind, number, state, status = step
    row = rows[kind][number]
    if what == "close":
        return client.close(MESSAGES[kind, state], row, status).status_code == 204
    if what == "update":
        body = {"statecode": state} | ({"statuscode": status} if status else {})
        # Without the star an update of a row that is gone would make it anew.
        return client.send("PATCH", f"{SETS[kind][0]}({row})", body, If_Match="*").status_code == 204
    if what == "delete":
        return client.send("DELETE", f"quotes({row})").status_code == 204
    close = {"opportunityid@odata.bind": f"/opportunities({row})", "opportunitystatuscode": status}
    return client.send("POST", "opportunitycloses", close).status_code == 204


def seen(client: Stranger, kind: str, row: str) -> Row:
    """Return a row as a client finds it."""
    entity_set, closes = SETS[kind]
    answer = client.send("GET", f"{entity_set}({row})?$select=statecode,statuscode&$expand={closes}($select=statecode)")
    if answer.status_code == 404:
        return Row(gone=True)
    found = answer.json()
    states = [one["statecode"] for one in found[closes]]
    return Row(found["statecode"], found["statuscode"], states.count(1), states.count(2))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(switches=SWITCHES, story=st.lists(STEPS, max_size=25))
def test_any_story_under_any_switches_ends_as_the_documents_say(
    stranger: Stranger, switches: dict[str, str], story: list[Step]
) -> None:
    stranger.switch(**switches)
    deals = [stranger.deal() for _ in range(DEALS)]
    rows = {"deal": deals, "offer": [stranger.offer(deals[number % DEALS]) for number in range(OFFERS)]}
    model = Model(switches)
    for step in story:
        assert done(stranger, rows, step) == told(model, step), step
    for kind, expected in (("deal", model.deals), ("offer", model.offers)):
        for row, wanted in zip(rows[kind], expected, strict=True):
            assert seen(stranger, kind, row) == (Row(gone=True) if wanted.gone else wanted)
