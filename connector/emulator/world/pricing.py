"""Amounts that the service computes: of lines, and of the quotes and opportunities that have lines.

What each amount adds up is told by the descriptions of the columns (table references of quote, quotedetail and
opportunity). Microsoft's sample of a custom calculation (calculate-price-plugin) adds taxes to the total alone, once.
The organization's `oobpricecalculationenabled` turns it off, as it does there.
"""

from __future__ import annotations

from connector.emulator.world.callers import Caller
from connector.emulator.world.records import Records
from connector.emulator.world.schema import names
from connector.emulator.world.store import Row, Value

LINES = {"quotedetail": ("quote", "quoteid"), "opportunityproduct": ("opportunity", "opportunityid")}
"""The tables of lines: what their rows belong to, and the column that says it."""
_LINES_OF = {parent: lines for lines, (parent, _) in LINES.items()}
_OF_LINE = names("quantity priceperunit manualdiscountamount volumediscountamount tax")
_OF_WHOLE = names("discountamount discountpercentage freightamount isrevenuesystemcalculated")


def reprice(records: Records, caller: Caller, table: str, key: str, changed: frozenset[str]) -> None:
    """Compute what follows from the `changed` columns of a row: its own amounts, and those of what it belongs to."""
    if table in LINES and not changed.isdisjoint(_OF_LINE):
        line = records.get(table, key, (*_OF_LINE, LINES[table][1]))
        if line["quantity"] is not None and line["priceperunit"] is not None and _enabled(records):
            base = _sum(line["quantity"]) * _sum(line["priceperunit"])
            discounts = _sum(line["manualdiscountamount"]) + _sum(line["volumediscountamount"])
            amounts: Row = {"baseamount": base, "extendedamount": base - discounts + _sum(line["tax"])}
            records.write(caller, records.schema.tables[table], key, amounts)
            add_up(records, caller, LINES[table][0], str(line[LINES[table][1]]))
    elif table in _LINES_OF and not changed.isdisjoint(_OF_WHOLE) and _lines(records, table, key):
        add_up(records, caller, table, key)


def _lines(records: Records, table: str, key: str) -> list[tuple[Value, ...]]:
    sql = f"SELECT extendedamount, tax, manualdiscountamount FROM {_LINES_OF[table]} WHERE {table}id = ?"
    return list(records.store.rows(sql, (key,)))


def add_up(records: Records, caller: Caller, table: str, key: str) -> None:
    """Compute the totals of a quote or an opportunity out of its lines."""
    if not records.store.exists(table, key) or not _enabled(records):
        return
    rows = _lines(records, table, key)
    owned = (*_OF_WHOLE[:3], *(_OF_WHOLE[3:] if table == "opportunity" else ()))
    row = records.get(table, key, owned)
    taxes, reductions = sum(_sum(tax) for _, tax, _ in rows), sum(_sum(reduced) for *_, reduced in rows)
    detail = sum(_sum(extended) for extended, *_ in rows) - taxes
    discount = _sum(row["discountamount"]) + detail * _sum(row["discountpercentage"]) / 100
    total = detail - discount + _sum(row["freightamount"]) + taxes
    totals: Row = {
        "totallineitemamount": detail,
        "totallineitemdiscountamount": reductions,
        "totaldiscountamount": discount + reductions,
        "totalamountlessfreight": detail - discount,
        "totaltax": taxes,
        "totalamount": total,
    }
    if row.get("isrevenuesystemcalculated"):
        totals["estimatedvalue"] = total
    records.write(caller, records.schema.tables[table], key, totals)


def _enabled(records: Records) -> bool:
    rows = records.store.rows("SELECT oobpricecalculationenabled FROM organization")
    return not rows or rows[0][0] != 0


def _sum(value: Value) -> float:
    return float(value or 0)
