"""Generating opportunities with quotes in a realistic mix: seeded, with ids that are easily found, fast in bulk."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from connector.emulator.seeding.organization import (
    ACCOUNTS,
    BUSINESS_UNIT_ID,
    COMPETITORS,
    CONTACTS,
    EURO_ID,
    EURO_RATE,
    SALES_USER_ID,
    US_DOLLAR_ID,
    row_id,
)
from connector.emulator.world.schema import names
from connector.emulator.world.store import Value
from connector.emulator.world.world import World

ITEM_BASED, WORK_BASED = 192350000, 192350001
QUOTE_STATES = {1: 0, 2: 1, 3: 1, 4: 2, 5: 3, 6: 3, 7: 3, 100000003: 3}
"""The state of each status reason of quote, the organization's own among them."""

_STATUSES = (1, 2, 3, 4, 5, 6, 7, 100000003)
_WEIGHTS = (34, 22, 12, 4, 10, 6, 9, 3)
_COUNTS = (0, 1, 2, 3, 4)
_COUNT_WEIGHTS = (20, 34, 26, 13, 7)

FIRST_CASES: tuple[tuple[int, ...], ...] = (
    (1, 2),
    (1,),
    (2,),
    (),
    (3, 5),
    (1, 1, 2, 3),
    (4, 1),
    (5, 6, 7),
    (100000003, 2),
    (1, 2, 5, 6),
)
"""Status reasons of the quotes of the first opportunities, so that an example of each case has a known number."""

_COMMON = names("createdon modifiedon createdby modifiedby ownerid ownerid_type owninguser owningbusinessunit")
_OPPORTUNITY = (
    *names(
        "opportunityid statecode statuscode name customerid customerid_type accountid contactid "
        "estimatedvalue estimatedvalue_base actualvalue actualvalue_base actualclosedate estimatedclosedate "
        "transactioncurrencyid exchangerate pricelevelid closeprobability msdyn_forecastcategory "
        "msdyn_ordertype isrevenuesystemcalculated"
    ),
    *_COMMON,
)
_QUOTE = (
    *names(
        "quoteid statecode statuscode name quotenumber revisionnumber opportunityid customerid "
        "customerid_type accountid contactid totalamount totalamount_base transactioncurrencyid exchangerate "
        "pricelevelid closedon msdyn_ordertype"
    ),
    *_COMMON,
)
_CLOSE = names(
    "activityid statecode statuscode subject actualend activitytypecode regardingobjectid "
    "regardingobjectid_type transactioncurrencyid exchangerate"
)
_QUOTE_CLOSE = (*_CLOSE, "quoteid", "quotenumber", "revision", *_COMMON)
_OPPORTUNITY_CLOSE = (
    *_CLOSE,
    "opportunityid",
    "opportunitystatecode",
    "opportunitystatuscode",
    "actualrevenue",
    "actualrevenue_base",
    *_COMMON,
)
_Rows = list[tuple[Value, ...]]


@dataclass(frozen=True, slots=True)
class SeededOpportunity:
    """What the rows of one opportunity share."""

    number: int
    key: str
    customer: tuple[Value, ...]
    currency: tuple[Value, ...]
    order_type: int
    audit: tuple[Value, ...]
    day: str
    rate: float


def opportunity_id(number: int) -> str:
    """Return the id of the nth seeded opportunity, counted from 1."""
    return row_id(3, number)


def seed_opportunities(world: World, count: int, seed: int = 1, projects: int = 12) -> int:
    """Add `count` open opportunities with quotes and `count` // 50 closed ones; returns how many rows were added.

    One of `projects` opportunities is work-based. The same seed on the same organization gives the same rows. Numbers
    go on after the highest that is taken. The organization has been set up, parties included.
    """
    first = 1 + _taken(world)
    chance = random.Random(f"{seed}:{first}:opportunities")
    start = world.clock.now().astimezone(UTC)
    last = first + count + count // 50
    total = 0
    with world.store.transaction():
        for low in range(first, last, 2000):
            total += _add_block(world, chance, start, range(low, min(low + 2000, last)), first + count - 1, projects)
    return total


def _taken(world: World) -> int:
    highest = world.store.rows(
        "SELECT max(opportunityid) FROM opportunity WHERE opportunityid LIKE '00000003-0000-4000-8000-%'"
    )
    return int(str(highest[0][0])[-12:]) if highest[0][0] is not None else 0


def _add_block(
    world: World, chance: random.Random, start: datetime, numbers: range, last_open: int, projects: int
) -> int:
    rows: dict[str, _Rows] = {"opportunity": [], "quote": [], "quoteclose": [], "opportunityclose": []}
    rivals: list[tuple[str, str]] = []
    for number in numbers:
        deal = _deal(chance, start, number, projects)
        if number <= last_open:
            rows["opportunity"].append(_open_row(chance, deal))
            _add_quotes(chance, deal, _quote_statuses(chance, number), rows)
        else:
            _add_closed(chance, deal, rows)
        if chance.random() < 0.25 or number == 2:  # the second example has a competitor
            rivals.append((deal.key, row_id(123, 1 + number % COMPETITORS)))
    columns = {
        "opportunity": _OPPORTUNITY,
        "quote": _QUOTE,
        "quoteclose": _QUOTE_CLOSE,
        "opportunityclose": _OPPORTUNITY_CLOSE,
    }
    added = sum(world.store.insert_many(table, columns[table], rows[table]) for table in columns)
    for opportunity, competitor in rivals:
        world.store.associate("opportunitycompetitors", {"opportunityid": opportunity, "competitorid": competitor})
    return added + len(rivals)


def _quote_statuses(chance: random.Random, number: int) -> tuple[int, ...]:
    if number <= len(FIRST_CASES):
        return FIRST_CASES[number - 1]
    how_many = chance.choices(_COUNTS, _COUNT_WEIGHTS)[0]
    return tuple(chance.choices(_STATUSES, _WEIGHTS, k=how_many))


def _deal(chance: random.Random, start: datetime, number: int, projects: int) -> SeededOpportunity:
    created = start - timedelta(minutes=chance.randrange(60, 400 * 1440))
    moment = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    euro = number % 4 == 0
    if number % 10 == 9:  # every tenth customer is a person
        contact = row_id(2, 1 + number % CONTACTS)
        customer: tuple[Value, ...] = (contact, "contact", None, contact)
    else:
        account = row_id(1, 1 + number % ACCOUNTS)
        customer = (account, "account", account, None)
    rate = EURO_RATE if euro else 1.0
    currency = (EURO_ID if euro else US_DOLLAR_ID, rate, row_id(1022, 2 if euro else 1))
    owner = SALES_USER_ID
    audit = (moment, moment, owner, owner, owner, "systemuser", owner, BUSINESS_UNIT_ID)
    work = WORK_BASED if number % projects == projects - 1 else ITEM_BASED
    return SeededOpportunity(number, opportunity_id(number), customer, currency, work, audit, moment[:10], rate)


def _open_row(chance: random.Random, deal: SeededOpportunity) -> tuple[Value, ...]:
    value = float(chance.randrange(500, 250_000))
    status = 2 if chance.random() < 0.15 else 1  # some are on hold
    category = chance.choice((100000001, 100000001, 100000002, 100000003))
    return _opportunity(deal, (0, status), value, (None, None, None), (chance.randrange(5, 96), category))


def _opportunity(
    deal: SeededOpportunity,
    state: tuple[int, int],
    value: float,
    actual: tuple[Value, Value, Value],
    outlook: tuple[int, int],
) -> tuple[Value, ...]:
    head = (deal.key, *state, f"Opportunity {deal.number}", *deal.customer, value, round(value / deal.rate, 4))
    return (*head, *actual, deal.day, *deal.currency, *outlook, deal.order_type, 0, *deal.audit)


def _add_quotes(
    chance: random.Random, deal: SeededOpportunity, statuses: tuple[int, ...], rows: dict[str, _Rows]
) -> None:
    for index, status in enumerate(statuses, 1):
        key = row_id(1084, deal.number * 10 + index)
        number = f"QUO-{deal.number:05d}-{index}"
        value = float(chance.randrange(500, 250_000))
        state = QUOTE_STATES[status]
        closed = deal.day if state > 1 else None
        head = (key, state, status, f"Quote {deal.number}.{index}", number, index - 1, deal.key, *deal.customer)
        amounts = (value, round(value / deal.rate, 4))
        rows["quote"].append((*head, *amounts, *deal.currency, closed, deal.order_type, *deal.audit))
        if state > 1:
            activity = _activity(row_id(4211, deal.number * 10 + index), "Quote closed", deal, ("quote", key))
            rows["quoteclose"].append((*activity, key, number, index - 1, *deal.audit))


def _activity(key: str, subject: str, deal: SeededOpportunity, regarding: tuple[str, str]) -> tuple[Value, ...]:
    table, row = regarding
    return (key, 1, 2, subject, deal.audit[0], f"{table}close", row, table, *deal.currency[:2])


def _add_closed(chance: random.Random, deal: SeededOpportunity, rows: dict[str, _Rows]) -> None:
    state, status = chance.choice(((1, 3), (1, 100000001), (2, 4), (2, 5), (2, 100000002)))
    value = float(chance.randrange(500, 250_000))
    base = round(value / deal.rate, 4)
    won = state == 1
    actual = (value, base, deal.day) if won else (None, None, deal.day)
    outlook = (100 if won else 0, 100000005 if won else 100000006)
    rows["opportunity"].append(_opportunity(deal, (state, status), value, actual, outlook))
    _add_quotes(chance, deal, (4 if won else 5,), rows)
    activity = _activity(row_id(4208, deal.number), "Opportunity closed", deal, ("opportunity", deal.key))
    revenue = (value, base) if won else (None, None)
    rows["opportunityclose"].append((*activity, deal.key, state, status, *revenue, *deal.audit))
