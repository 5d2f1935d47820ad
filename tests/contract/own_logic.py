"""Organizations with plug-ins of a small vocabulary, and a reader of their tables that knows nothing of the product."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from connector.clock import VirtualClock
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.policies import RetryPolicy, authorize, retry
from connector.dataverse.sign_in.auth import Registration, application_tokens
from connector.emulator.control.users import change_user
from connector.emulator.embedded import open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.world.custom_logic import LogicContext
from connector.emulator.world.customization import Customization
from connector.emulator.world.world import World
from connector.handler import Handler, Request, Response

DEAL = "0c000000-0000-4000-8000-000000000001"
ELSEWHERE = "0c000000-0000-4000-8000-000000000002"
STATE_OF_QUOTE = {1: 0, 2: 1, 3: 1, 4: 2, 5: 3, 6: 3, 7: 3}
STATES = (("open", "won", "lost"), ("draft", "active", "won", "closed"))
CLOSES = {"CloseQuote": "quoteclose", "WinQuote": "quoteclose", "WinOpportunity": "", "LoseOpportunity": ""}

Act = Callable[[LogicContext, "Rule"], None]


@dataclass(frozen=True)
class Rule:
    """A plug-in or flow: it does `act` at `stage` of `message`, the first `times` times (0: always)."""

    act: str
    message: str
    stage: str = "post"
    times: int = 0
    mode: str = "sync"
    number: int = 0

    def function(self) -> Callable[[LogicContext], None]:
        """Return it as the emulator runs it. How often it ran is not rolled back, as a call to a web service is not."""
        left = [self.times or 1_000_000]

        def plugin(context: LogicContext) -> None:
            stage = context.stage == self.stage or self.mode != "sync"
            if context.message == self.message and context.table in ("quote", "opportunity") and stage and left[0]:
                left[0] -= 1
                ACTS[self.act](context, self)

        plugin.mode = "async" if self.mode == "async" else "sync"  # type: ignore[attr-defined]
        plugin.__name__ = f"plugin_{self.number}"
        return plugin


def _deal(context: LogicContext) -> str:
    if context.table == "opportunity":
        return context.record_id
    return str(context.retrieve("quote", context.record_id)["opportunityid"] or "")


def _siblings(context: LogicContext) -> list[dict[str, Any]]:
    rows = context.query("quote", opportunityid=_deal(context))
    return [row for row in rows if row["quoteid"] != context.record_id]


def _close_siblings(context: LogicContext, _rule: Rule) -> None:
    for row in _siblings(context):
        if row["statecode"] in (0, 1):
            context.update("quote", str(row["quoteid"]), {"statecode": 3, "statuscode": 6})


def _close_siblings_by_message(context: LogicContext, _rule: Rule) -> None:
    for row in _siblings(context):
        if row["statecode"] == 1:
            close = {"subject": "by a plug-in", "quoteid": row["quoteid"]}
            context.execute("CloseQuote", {"Status": 6, "QuoteClose": close})


def _win(context: LogicContext, _rule: Rule) -> None:
    close = {"subject": "by a plug-in", "opportunityid": _deal(context)}
    context.execute("WinOpportunity", {"Status": 3, "OpportunityClose": close})


def _lose_past_the_rules(context: LogicContext, _rule: Rule) -> None:
    context.update("opportunity", _deal(context), {"statecode": 2, "statuscode": 5})


def _win_past_the_rules(context: LogicContext, _rule: Rule) -> None:
    context.update("opportunity", _deal(context), {"statecode": 1, "statuscode": 3})


def _whole_revenue(context: LogicContext, _rule: Rule) -> None:
    value = context.retrieve("opportunity", _deal(context))["actualvalue"]
    if value is not None:
        context.update("opportunity", _deal(context), {"actualvalue": round(float(str(value)))})


def _open_again(context: LogicContext, _rule: Rule) -> None:
    context.update("opportunity", _deal(context), {"statecode": 0, "statuscode": 1})


def _push_back(context: LogicContext, _rule: Rule) -> None:
    if context.table == "quote":
        context.update("quote", context.record_id, {"statecode": 0, "statuscode": 1})


def _revise(context: LogicContext, _rule: Rule) -> None:
    if context.table == "quote":
        row = context.retrieve("quote", context.record_id)
        names = ("name", "quotenumber", "opportunityid")
        context.create("quote", {name: row[name] for name in names} | {"revisionnumber": int(row["revisionnumber"] or 0) + 1})  # fmt: skip


def _delete_drafts(context: LogicContext, _rule: Rule) -> None:
    for row in _siblings(context):
        if row["statecode"] == 0:
            context.execute("Delete", {"Target": {"@table": "quote", "quoteid": row["quoteid"]}})


def _touch(context: LogicContext, _rule: Rule) -> None:
    context.update("opportunity", _deal(context), {"description": "touched"})


def _add_a_draft(context: LogicContext, _rule: Rule) -> None:
    deal = _deal(context)
    if deal:
        number = f"ADD-{len(context.query('quote', opportunityid=deal))}"
        draft = {"name": "Another", "quotenumber": number, "statecode": 0, "statuscode": 1}
        context.create("quote", {**draft, "opportunityid": deal})


def _touch_quotes(context: LogicContext, _rule: Rule) -> None:
    for row in context.query("quote", opportunityid=_deal(context)):
        context.update("quote", str(row["quoteid"]), {"description": "touched"})


def _other_reason(context: LogicContext, _rule: Rule) -> None:
    state = context.retrieve(context.table, context.record_id)["statecode"]
    reasons = {("quote", 3): 7, ("quote", 1): 3, ("opportunity", 0): 2, ("opportunity", 2): 5}
    if (context.table, state) in reasons:
        context.update(context.table, context.record_id, {"statuscode": reasons[context.table, int(str(state))]})


def _move_away(context: LogicContext, _rule: Rule) -> None:
    if context.table == "quote":
        context.update("quote", context.record_id, {"opportunityid": ELSEWHERE})


def _swallow(context: LogicContext, _rule: Rule) -> None:
    try:
        context.retrieve("account", ELSEWHERE)
    except Exception:  # noqa: BLE001 - what a careless plug-in does
        return


ACTS: Mapping[str, Act] = {
    "abort": lambda context, rule: context.abort(f"Rule {rule.number} says no to '{context.message}'."),
    "abort as not found": lambda context, _rule: context.abort("It is not there.", code="0x80040217", status=404),
    "abort as stale": lambda context, _rule: context.abort("Somebody was faster.", code="0x80060882", status=412),
    "abort as closed": lambda context, _rule: context.abort("It is closed.", code="0x80040515"),
    "abort as throttled": lambda context, _rule: context.abort(
        "Too many requests. Try again in 5 seconds.", status=400
    ),
    "crash": lambda context, _rule: context.crash(),
    "fail": lambda context, _rule: void(context.parameters["no such parameter"]),
    "swallow": _swallow,
    "slow": lambda context, _rule: context.sleep(45),
    "too slow": lambda context, _rule: context.sleep(500),
    "close siblings": _close_siblings,
    "close siblings by message": _close_siblings_by_message,
    "win": _win,
    "win past the rules": _win_past_the_rules,
    "whole revenue": _whole_revenue,
    "lose": _lose_past_the_rules,
    "open again": _open_again,
    "push back": _push_back,
    "revise": _revise,
    "add a draft": _add_a_draft,
    "delete drafts": _delete_drafts,
    "touch": _touch,
    "touch quotes": _touch_quotes,
    "other reason": _other_reason,
    "move away": _move_away,
}


def void(_value: object) -> None:
    """Take a value for the sake of what making it does."""


@dataclass(frozen=True)
class QuoteRow:
    """A quote to be made; one that is not `seen` belongs to somebody else."""

    status: int
    seen: bool = True


@dataclass(frozen=True)
class Shape:
    """An organization: its quotes, rules, switches, customizations, and what its application user lacks.

    `unit` is the business unit of that user, who sees its quotes alone where some are not to be seen.
    """

    quotes: Sequence[QuoteRow] = ()
    rules: Sequence[Rule] = ()
    switches: Mapping[str, str] = field(default_factory=dict)
    customization: Mapping[str, Any] = field(default_factory=dict)
    without: Sequence[str] = ()
    atomic: bool = True
    unit: str = ""
    precision: int = 2


@dataclass(frozen=True)
class Standing:
    """What the tables hold: state and reason of the opportunity and its quotes, and the close activities by id."""

    deal: tuple[int, int]
    quotes: Mapping[str, tuple[str, int, int]]
    activities: Mapping[str, bool]

    def sentence(self) -> list[str]:
        """Return the parts of a sentence that says it."""
        parts = [f"quote {number} is {STATES[1][state]}" for number, state, _ in self.quotes.values()]
        return sorted([f"the opportunity is {STATES[0][self.deal[0]]}", *parts])

    def states(self) -> tuple[object, ...]:
        """Return what a person means by whether anything changed."""
        return self.deal[0], sorted((key, quote[1]) for key, quote in self.quotes.items())


@dataclass
class UntidyOrganization:
    """An emulated organization of a shape, its one opportunity, and a client for it."""

    world: World
    clock: VirtualClock
    client: DataverseOrganization
    sent: list[str]
    ours: str
    secured: bool = False

    def standing(self, *, everything: bool = False) -> Standing:
        """Read the tables, those of the quotes that the application user may not see only where asked."""
        store = self.world.store
        ((state, status),) = store.rows(
            "SELECT statecode, statuscode FROM opportunity WHERE opportunityid = ?", (DEAL,)
        )
        seen = "1" if everything or not self.ours else f"ownerid = '{self.ours}'"
        quotes = store.rows(
            f"SELECT quoteid, quotenumber, statecode, statuscode FROM quote WHERE opportunityid = ? AND {seen}",
            (DEAL,),
        )
        activities = store.rows(
            "SELECT activityid, statecode FROM opportunityclose WHERE subject IS NOT 'by a plug-in' UNION ALL "
            "SELECT activityid, statecode FROM quoteclose WHERE subject IS NOT 'by a plug-in'"
        )
        return Standing(
            (int(str(state)), int(str(status))),
            {str(key): (str(number), int(str(one)), int(str(two))) for key, number, one, two in quotes},
            {str(key): state == 1 for key, state in activities},
        )

    def revenue(self) -> Decimal | None:
        """Read what the opportunity brought in."""
        ((value,),) = self.world.store.rows("SELECT actualvalue FROM opportunity WHERE opportunityid = ?", (DEAL,))
        return None if value is None else Decimal(str(value))


@contextmanager
def organization_of_shape(shape: Shape, keys: Keys) -> Iterator[UntidyOrganization]:
    """Make it, with an open opportunity `DEAL`, and close it at the end."""
    clock = VirtualClock()
    embedded = open_embedded(":memory:", clock, EmulatorOptions(seeded=0, journal_size=10), keys)
    emulator = embedded.emulator
    world = emulator.organization.world
    emulator.control.set_switches(dict(shape.switches))
    if shape.customization:
        world.customize(Customization.from_json(json.dumps(shape.customization)))
    hidden = any(not quote.seen for quote in shape.quotes)
    depths = {"prvReadQuote": "Local" if shape.unit else "Basic"} if hidden else {}
    change = {"user": embedded.client_id, "without": list(shape.without), "depths": depths, "unit": shape.unit}
    user = change_user(world, change)["user"]
    world.store.execute("UPDATE transactioncurrency SET currencyprecision = ?", (shape.precision,))
    for key in (DEAL, ELSEWHERE):
        row = {"opportunityid": key, "name": key[-1], "statecode": 0, "statuscode": 1, "estimatedvalue": 900.5}
        emulator.organization.load_rows("opportunity", [row])
    for number, quote in enumerate(shape.quotes, 1):
        row = {"quoteid": f"0d000000-0000-4000-8000-00000000000{number}", "name": f"Quote {number}",
               "quotenumber": f"QUO-{number}", "opportunityid": DEAL, "revisionnumber": 0,
               "statecode": STATE_OF_QUOTE[quote.status], "statuscode": quote.status}  # fmt: skip
        emulator.organization.load_rows("quote", [row])
    others = "SELECT systemuserid, businessunitid FROM systemuser WHERE systemuserid <> ? LIMIT 1"
    ((other, other_unit),) = world.store.rows(others, (user,))
    ((unit,),) = world.store.rows("SELECT businessunitid FROM systemuser WHERE systemuserid = ?", (user,))
    for number, quote in enumerate(shape.quotes, 1):
        owner = (user, unit) if quote.seen else (other, other_unit)
        world.store.execute(
            "UPDATE quote SET ownerid = ?, owningbusinessunit = ?, ownerid_type = 'systemuser' WHERE quotenumber = ?",
            (*owner, f"QUO-{number}"),
        )
    for number, rule in enumerate(shape.rules, 1):
        kind = "flow" if rule.mode == "flow" else "plugin"
        world.logic.add(replace(rule, number=number).function(), kind, assembly="contoso")
    sent: list[str] = []
    registration = Registration(embedded.client_id, lambda: embedded.authority, embedded.url)
    tokens = application_tokens(registration, lambda: embedded.client_secret, embedded.handler, clock)

    def noted(request: Request) -> Response:
        sent.append(f"{request.method} {request.url}")
        return embedded.handler(request)

    wire = authorize(noted, tokens, embedded.url)
    handler: Handler = retry(wire, sleep=clock.sleep, chance=random.Random(7), policy=RetryPolicy())
    client = DataverseOrganization(handler, embedded.url, clock=clock, atomic=shape.atomic)
    try:
        yield UntidyOrganization(
            world, clock, client, sent, str(user) if hidden else "", "secured" in shape.customization
        )
    finally:
        embedded.close()


def ids(standing: Standing) -> set[UUID]:
    """Return the ids of the close activities that are there."""
    return {UUID(key) for key in standing.activities}
