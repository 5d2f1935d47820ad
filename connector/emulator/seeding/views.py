"""The system views that an organization has from the start, each with its FetchXML."""

from __future__ import annotations

from dataclasses import dataclass

from connector.emulator.world.store import Row
from connector.emulator.world.world import World


@dataclass(frozen=True, slots=True)
class View:
    """A system view of `table`: its columns, its conditions as FetchXML, and what it is ordered by."""

    id: str
    name: str
    table: str
    columns: tuple[str, ...]
    conditions: str
    order: str

    @property
    def fetch(self) -> str:
        """Return the query as FetchXML."""
        columns = "".join(f'<attribute name="{name}"/>' for name in (*self.columns, f"{self.table}id"))
        where = f'<filter type="and">{self.conditions}</filter>' if self.conditions else ""
        return (
            f'<fetch version="1.0" output-format="xml-platform" mapping="logical"><entity name="{self.table}">{columns}'
            f'<order attribute="{self.order}" descending="false"/>{where}</entity></fetch>'
        )

    @property
    def layout(self) -> str:
        """Return which columns people see, as LayoutXML."""
        cells = "".join(f'<cell name="{name}" width="150"/>' for name in self.columns)
        return f'<grid name="resultset" select="1" preview="1" icon="1"><row name="result">{cells}</row></grid>'


_DEAL = ("name", "customerid", "estimatedclosedate", "estimatedvalue", "ownerid")
_OFFER = ("name", "quotenumber", "opportunityid", "totalamount", "statuscode")
_OPEN = '<condition attribute="statecode" operator="eq" value="{}"/>'

VIEWS = (
    View(
        "00000000-0000-0000-00aa-000010001002",
        "Active Accounts",
        "account",
        ("name", "primarycontactid", "telephone1"),
        _OPEN.format(0),
        "name",
    ),
    View("00000000-0000-0000-00aa-000010003001", "Open Opportunities", "opportunity", _DEAL, _OPEN.format(0), "name"),
    View(
        "00000003-0000-4000-8039-000000000001",
        "My Open Opportunities",
        "opportunity",
        _DEAL,
        _OPEN.format(0) + '<condition attribute="ownerid" operator="eq-userid"/>',
        "name",
    ),
    View(
        "00000003-0000-4000-8039-000000000002",
        "Closed Opportunities",
        "opportunity",
        (*_DEAL, "statecode", "actualclosedate"),
        '<condition attribute="statecode" operator="in"><value>1</value><value>2</value></condition>',
        "actualclosedate",
    ),
    View("00000003-0000-4000-8039-000000000003", "All Opportunities", "opportunity", _DEAL, "", "name"),
    View("00001084-0000-4000-8039-000000000001", "Active Quotes", "quote", _OFFER, _OPEN.format(1), "name"),
    View("00001084-0000-4000-8039-000000000002", "Draft Quotes", "quote", _OFFER, _OPEN.format(0), "name"),
    View("00001084-0000-4000-8039-000000000003", "All Quotes", "quote", _OFFER, "", "name"),
)
"""Names as in Dynamics 365 Sales; the first two ids are those of the documented samples, the others are ours."""


def seed_views(world: World) -> None:
    """Add the system views to an organization that has none."""
    now = world.records.now()
    first = {"account": 0, "opportunity": 1, "quote": 5}
    for number, view in enumerate(VIEWS):
        row: Row = {
            "savedqueryid": view.id,
            "name": view.name,
            "returnedtypecode": view.table,
            "querytype": 0,
            "fetchxml": view.fetch,
            "layoutxml": view.layout,
            "isdefault": int(first[view.table] == number),
            "isquickfindquery": 0,
            "statecode": 0,
            "statuscode": 1,
            "createdon": now,
            "modifiedon": now,
        }
        world.store.insert("savedquery", row)
