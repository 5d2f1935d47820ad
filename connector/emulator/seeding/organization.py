"""Filling an empty organization: currencies, roles, users, and the master data that opportunities point at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from connector.emulator.world.callers import CLOSING_PRIVILEGES, all_privileges
from connector.emulator.world.customization import Customization, StatusReason
from connector.emulator.world.store import Row
from connector.emulator.world.world import World

ORGANIZATION_ID = "00001019-0000-4000-8000-000000000001"
BUSINESS_UNIT_ID = "00000010-0000-4000-8000-000000000001"
US_DOLLAR_ID = "00009105-0000-4000-8000-000000000001"
EURO_ID = "00009105-0000-4000-8000-000000000002"
EURO_RATE = 0.92
SALES_USER_ID = "00000008-0000-4000-8000-00000000000a"
ACCOUNTS, CONTACTS, COMPETITORS = 40, 12, 6

ADMINISTRATOR = "System Administrator"
CLOSER = "Opportunity Closer"
READER = "Sales Reader"

CUSTOM_REASONS = Customization(
    (
        StatusReason("opportunity", 100000001, "Won by Renewal", 1),
        StatusReason("opportunity", 100000002, "No Budget", 2),
        StatusReason("quote", 100000003, "Expired", 3),
    )
)
"""The organization's own status reasons: one for won, one for lost, one for closed quotes."""

_CITIES = ("Redmond", "Lyon", "Porto", "Graz", "Bergen", "Leeds", "Ghent", "Turin")
_TRADES = ("Bakery", "Shipping", "Robotics", "Textiles", "Orchards", "Glassworks", "Logistics", "Clinics")
_RIVALS = ("Fourth Coffee", "Wingtip", "Tailspin", "Proseware", "Litware", "Trey Research")
_NAMES = ("Ana", "Bo", "Chi", "Dara", "Eli", "Fumi", "Gus", "Hana", "Ines", "Jo", "Kai", "Lea")


@dataclass(frozen=True, slots=True)
class SeededUser:
    """A user row: an application (with `application_id`) or a person, known to the directory by `object_id`.

    `role` is the name of one of the seeded roles, None for a user without any. `timezone_bias` is in minutes: UTC is
    local time plus the bias.
    """

    object_id: str
    name: str
    application_id: str | None = None
    role: str | None = ADMINISTRATOR
    disabled: bool = False
    timezone_bias: int = 0


def row_id(type_code: int, number: int) -> str:
    """Return the seeded id of the nth row of a table: its object type code, then the number."""
    return f"{type_code:08d}-0000-4000-8000-{number:012d}"


def is_seeded(world: World) -> bool:
    """Return whether the organization has been set up."""
    return world.store.exists("organization", ORGANIZATION_ID)


def seed_organization(world: World, members: Iterable[SeededUser], own: Customization | None = None) -> None:
    """Set up an empty organization: business unit, currencies, price lists, roles, users, and what it has of its `own`.

    Without `own` it has a custom status reason of each kind.
    """
    with world.store.transaction():
        _add(world, "businessunit", {"businessunitid": BUSINESS_UNIT_ID, "name": "Contoso", "isdisabled": 0})
        _add_currency(world, US_DOLLAR_ID, "US Dollar", "USD", 1.0, "$")
        _add_currency(world, EURO_ID, "Euro", "EUR", EURO_RATE, "€")
        organization: Row = {
            "organizationid": ORGANIZATION_ID,
            "name": "contoso",
            "basecurrencyid": US_DOLLAR_ID,
            "languagecode": 1033,
            "currencydecimalprecision": 2,
            "pricingdecimalprecision": 2,
            "oobpricecalculationenabled": 1,
            "isquickcreateenabledforopportunityclose": 0,
        }
        _add(world, "organization", organization)
        for number, (name, currency) in enumerate((("Retail (USD)", US_DOLLAR_ID), ("Retail (EUR)", EURO_ID)), 1):
            _add(
                world,
                "pricelevel",
                {
                    "pricelevelid": row_id(1022, number),
                    "name": name,
                    "transactioncurrencyid": currency,
                    "exchangerate": world.records.rate(currency),
                    "statecode": 0,
                    "statuscode": 1,
                },
            )
        _add_roles(world)
        _add_views(world)
        add_user(world, SALES_USER_ID, SeededUser(row_id(8, 10), "Sam Seller", role="Salesperson"))
        for number, member in enumerate(members, 1):
            add_user(world, row_id(8, number), member)
    world.customize(CUSTOM_REASONS if own is None else own)


def _add_views(world: World) -> None:
    """Add the system views, named as in Dynamics 365 Sales; the first of each table is its default one."""
    tables_with_views: set[str] = set()
    shared: Row = {"querytype": 0, "isquickfindquery": 0, "statecode": 0, "statuscode": 1}
    for view in json.loads((resources.files("connector.emulator") / "data" / "views.json").read_text("utf-8")):
        first = view["returnedtypecode"] not in tables_with_views
        tables_with_views.add(view["returnedtypecode"])
        _add(world, "savedquery", {**view, **shared, "isdefault": int(first)})


def define_role(
    world: World, key: str, name: str, privileges: Iterable[str], depths: Mapping[str, str] | None = None
) -> None:
    """Create a role with these privileges, or change what it holds; `depths` are of those that are not global."""
    with world.store.transaction():
        if not world.store.exists("role", key):
            _add(world, "role", {"roleid": key, "name": name, "businessunitid": BUSINESS_UNIT_ID})
        world.store.execute("DELETE FROM _roleprivileges WHERE roleid = ?", (key,))
        for privilege in sorted(privileges):
            world.store.execute("INSERT INTO _roleprivileges VALUES (?, ?)", (key, privilege))
        world.store.execute("DELETE FROM _depths WHERE roleid = ?", (key,))
        for privilege, depth in (depths or {}).items():
            world.store.execute("INSERT INTO _depths VALUES (?, ?, ?)", (key, privilege, depth))
        world.store.update("role", key, {"name": name})


def role_id(name: str) -> str:
    """Return the id of a seeded role; raises KeyError for another name."""
    if name not in _ROLES:
        raise KeyError(name)
    return row_id(1036, _ROLES.index(name) + 1)


_ROLES = (ADMINISTRATOR, CLOSER, READER, "Salesperson")


def _add_roles(world: World) -> None:
    everything = all_privileges(world.schema)
    reading = frozenset(name for name in everything if name.startswith("prvRead"))
    sales = {"Opportunity", "Quote", "Activity", "Account", "Contact", "Competitor", "Order"}
    selling = frozenset(name for name in everything if any(name.endswith(table) for table in sales)) | reading
    held = {ADMINISTRATOR: everything, CLOSER: CLOSING_PRIVILEGES, READER: reading, "Salesperson": selling}
    for name in _ROLES:
        define_role(world, role_id(name), name, held[name])


def add_user(world: World, key: str, member: SeededUser) -> None:
    """Add a user under an id."""
    first, _, last = member.name.partition(" ")
    _add(
        world,
        "systemuser",
        {
            "systemuserid": key,
            "ownerid": key,
            "fullname": member.name,
            "firstname": first,
            "lastname": last or first,
            "applicationid": member.application_id,
            "azureactivedirectoryobjectid": member.object_id,
            "domainname": f"{member.name.lower().replace(' ', '.')}@contoso.invalid",
            "isdisabled": int(member.disabled),
            "accessmode": 4 if member.application_id else 0,
            "islicensed": int(member.application_id is None),
            "businessunitid": BUSINESS_UNIT_ID,
            "organizationid": ORGANIZATION_ID,
        },
    )
    settings: Row = {"businessunitid": BUSINESS_UNIT_ID, "uilanguageid": 1033, "localeid": 1033}
    _add(world, "usersettings", {"systemuserid": key, "timezonebias": member.timezone_bias, **settings})
    if member.role is not None:
        world.store.associate("systemuserroles", {"systemuserid": key, "roleid": role_id(member.role)})


def _add_currency(world: World, key: str, name: str, code: str, rate: float, symbol: str) -> None:
    _add(
        world,
        "transactioncurrency",
        {
            "transactioncurrencyid": key,
            "currencyname": name,
            "isocurrencycode": code,
            "exchangerate": rate,
            "currencysymbol": symbol,
            "currencyprecision": 2,
            "statecode": 0,
            "statuscode": 1,
        },
    )


def seed_parties(world: World) -> None:
    """Add the accounts, contacts and competitors that seeded opportunities point at."""
    with world.store.transaction():
        for number in range(1, ACCOUNTS + 1):
            city, trade = _CITIES[number % len(_CITIES)], _TRADES[(number * 3) % len(_TRADES)]
            row: Row = {
                "accountid": row_id(1, number),
                "name": f"{city} {trade} {number}",
                "accountnumber": f"ACC-{number:04d}",
                "address1_city": city,
                "transactioncurrencyid": EURO_ID if number % 4 == 0 else US_DOLLAR_ID,
            }
            _add(world, "account", {**row, **_active()})
        for number in range(1, CONTACTS + 1):
            first, last = _NAMES[number - 1], _TRADES[number % len(_TRADES)]
            contact: Row = {"contactid": row_id(2, number), "firstname": first, "lastname": last}
            parent: Row = {"parentcustomerid": row_id(1, number), "parentcustomerid_type": "account"}
            _add(world, "contact", {**contact, "fullname": f"{first} {last}", **parent, **_active()})
        for number, name in enumerate(_RIVALS, 1):
            _add(world, "competitor", {"competitorid": row_id(123, number), "name": name})


def _active() -> Row:
    return {
        "statecode": 0,
        "statuscode": 1,
        "ownerid": SALES_USER_ID,
        "ownerid_type": "systemuser",
        "owninguser": SALES_USER_ID,
        "owningbusinessunit": BUSINESS_UNIT_ID,
        "createdby": SALES_USER_ID,
        "modifiedby": SALES_USER_ID,
    }


def _add(world: World, table: str, row: Row) -> None:
    if "createdon" in world.schema.tables[table].columns:
        row = {**row, "createdon": world.records.now(), "modifiedon": world.records.now()}
    world.store.insert(table, row)
