"""Where the rows of a job come from: queries, and what is wrong with files, told before anything is touched."""

from __future__ import annotations

import codecs
import json
from datetime import date
from pathlib import Path

import pytest

from tests.cli.desk import Desk, Said

A = "11111111-1111-4111-8111-111111111111"
HEAD = "opportunityid,outcome,status\n"


def bulk(desk: Desk, *arguments: str) -> Said:
    store = str(desk.file.parent / "jobs.db")
    return desk.run("bulk", *arguments, DATAVERSE_URL=f"emulator:{desk.file}", CONNECTOR_STORE=store)


def stale(desk: Desk, count: int) -> set[str]:
    found = [id_ for (id_,) in desk.sql("SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY 1")]
    desk.sql("UPDATE opportunity SET estimatedclosedate = '2999-01-01'")
    for id_ in found[:count]:
        desk.sql("UPDATE opportunity SET estimatedclosedate = '2020-01-31' WHERE opportunityid = ?", id_)
    return set(found[:count])


def closed(desk: Desk) -> set[str]:
    return {id_ for (id_,) in desk.sql("SELECT opportunityid FROM opportunity WHERE actualclosedate >= '2026-01-01'")}


def test_what_is_stale_is_closed_and_nothing_else(desk: Desk) -> None:
    ids = stale(desk, 7)
    before = dict(desk.sql("SELECT opportunityid, statecode FROM opportunity"))
    query = ["--older-than", "90", "--lost", "--status", "Out-Sold", "--subject", "Stale"]
    said = bulk(desk, "plan", *query, "--out", "stale.plan.jsonl", "--json")
    assert (said.code, said.data["planned"]) == (0, 7)
    said = bulk(desk, "run", *query, "--job", "stale", "--yes", "--json")
    assert (said.code, said.data["closed"]) == (0, 7)
    after = dict(desk.sql("SELECT opportunityid, statecode FROM opportunity"))
    assert {id_ for id_, state in after.items() if state != before[id_]} == ids
    assert desk.sql("SELECT DISTINCT subject FROM opportunityclose WHERE subject = 'Stale'") == [("Stale",)]
    assert bulk(desk, "run", *query, "--job", "stale", "--yes", "--json").data["closed"] == 7
    other = bulk(desk, "run", "--older-than", "80", "--lost", "--job", "stale", "--yes")
    assert other.code == 1
    assert "another query" in other.err
    assert bulk(desk, "run", *query, "--job", "again-{day}", "--yes", "--json").data["total"] == 0


def test_a_job_of_a_schedule_has_the_day_in_its_name(desk: Desk) -> None:
    stale(desk, 1)
    said = bulk(desk, "run", "--older-than", "90", "--lost", "--job", "stale-{day}", "--yes", "--json")
    assert date.fromisoformat(said.data["job"].removeprefix("stale-"))


def test_words_are_translated_from_a_file_of_windows_powershell(desk: Desk) -> None:
    Path("words.toml").write_bytes("[outcome]\r\n'für uns' = 'won'\r\n".encode("utf-16"))
    Path("rows.csv").write_text(f"opportunityid,outcome\n{desk.opportunity(drafts=1)},Für uns\n", encoding="utf-8")
    assert bulk(desk, "plan", "rows.csv", "--values", "words.toml", "--json").data["planned"] == 1


def test_a_filter_finds_the_open_ones_that_fit_it(desk: Desk) -> None:
    ids = sorted(stale(desk, 3))
    said = bulk(desk, "run", "--where", f"opportunityid eq {ids[0]}", "--won", "--job", "one", "--yes", "--json")
    assert (said.code, said.data["total"], said.data["closed"]) == (0, 1, 1)
    said = bulk(desk, "plan", "--where", f"opportunityid eq {ids[0]}", "--won", "--out", "none.plan.jsonl", "--json")
    assert (said.code, said.data["rows"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name a file of rows, or say what to look for"),
        (["rows.csv", "--where", "statecode eq 0"], "from a file or from a query"),
        (["--older-than", "3"], "--won or --lost"),
        (["--older-than", "3", "--won"], "needs a name"),
        (["--older-than", "-3", "--won"], "-3"),
        (["--view", "Mine", "--where", "true", "--won", "--job", "j"], "A view goes without"),
        (["--older-than", "3", "--lost", "--status", "Won", "--job", "j"], "is not one for opportunity lost"),
    ],
)
def test_what_cannot_be_meant_is_told(desk: Desk, arguments: list[str], sentence: str) -> None:
    before = desk.rows()
    said = bulk(desk, "run", *arguments, "--yes")
    assert said.code == 2
    assert sentence in said.err
    assert desk.rows() == before
    assert bulk(desk, "status", "--json").data == {"jobs": []}


def test_a_view_that_this_emulator_cannot_execute_changes_nothing(desk: Desk) -> None:
    before = desk.rows()
    assert bulk(desk, "run", "--view", "Stale", "--lost", "--job", "j", "--yes").code != 0
    assert desk.rows() == before
    assert bulk(desk, "status", "--json").data == {"jobs": []}


def many(status: str) -> bytes:
    rows = [f"{A[:-4]}{number:04d},won,{status if number == 731 else ''}" for number in range(1, 1001)]
    return (HEAD + "\n".join(rows) + "\n").encode()


BAD = {
    "empty": (b"", "rows.csv is empty"),
    "only a head": (HEAD.encode(), "no rows"),
    "only a mark": (codecs.BOM_UTF8, "has no text"),
    "another delimiter": (b"opportunityid^outcome\n%s^won\n" % A.encode(), "opportunityid^outcome"),
    "delimiters mixed": (f"opportunityid,outcome\n{A};won\n".encode(), "row 1 (line 2)"),
    "an id cut short": (f"{HEAD}{A[:-1]},won,\n".encode(), "row 1 (line 2): opportunityid"),
    "an unknown reason": (many("Sold"), "row 731 (line 732): The opportunity has no status reason 'Sold'"),
    "a reason of another state": (many("Canceled"), "row 731 (line 732): The status reason 4 Canceled"),
    "a zero byte": (f"{HEAD}\0\n".encode(), "zero byte"),
    "damaged UTF-8": (f"{HEAD}{A},won,gagné".encode() + b"\xe9\n", "is not UTF-8"),
    "an open quote": (f'{HEAD}{A},won,"Sold\n{A},won,\n'.encode(), "a quote that begins here is never closed"),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("what", list(BAD))
def test_a_bad_file_is_one_sentence_and_nothing_is_touched(desk: Desk, what: str, command: str) -> None:
    content, sentence = BAD[what]
    Path("rows.csv").write_bytes(content)
    before = desk.rows()
    said = bulk(desk, command, "rows.csv", *(["--yes"] if command == "run" else []))
    assert said.code == 2
    assert sentence in said.err
    assert "rows.csv" in said.err
    assert len(said.err.splitlines()) <= 2, "one sentence, and what to do"
    assert desk.rows() == before
    assert bulk(desk, "status", "--json").data == {"jobs": []}
    assert not list(Path().glob("*plan*"))


def test_a_good_file_may_be_written_in_many_ways(desk: Desk) -> None:
    ids = sorted(stale(desk, 4))
    rows = [f"{ids[0]},won\r\n", f"{{{ids[1]}}},Won\n", f"{ids[2].upper()},WON\r\n", f'"{{{ids[3].upper()}}}",won']
    Path("rows.csv").write_bytes(codecs.BOM_UTF8 + "".join(["OpportunityId,Outcome\n", *rows]).encode())
    said = bulk(desk, "run", "rows.csv", "--yes", "--json")
    assert (said.code, said.data["closed"]) == (0, 4)


def test_a_plan_says_itself_what_is_wanted(desk: Desk) -> None:
    ids = sorted(stale(desk, 2))
    Path("rows.csv").write_text(f"opportunityid\n{ids[0]}\n", encoding="utf-8")
    said = bulk(desk, "plan", "rows.csv", "--lost", "--json")
    assert said.code == 0
    request = json.loads(Path("rows.plan.jsonl").read_text(encoding="utf-8").splitlines()[1])["request"]
    assert (request["opportunityid"], request["outcome"]) == (ids[0], "lost")
    assert bulk(desk, "run", "rows.plan.jsonl", "--won", "--yes").code == 2


@pytest.mark.parametrize("where", ["estimatedvalue ltt 1000", "nosuch lt 1000"])
def test_a_filter_that_the_organization_does_not_understand_is_said_to_be_what_is_wrong(desk: Desk, where: str) -> None:
    before = desk.rows()
    said = bulk(desk, "run", "--where", where, "--lost", "--job", "june", "--yes")
    assert said.code == 1
    assert "The organization said: " in said.err
    assert "Nothing was changed. Correct the filter: it is put to opportunities as OData." in said.err
    assert desk.rows() == before
    assert bulk(desk, "status", "--json").data == {"jobs": []}


FETCH = (
    '<fetch{}><entity name="opportunity"><attribute name="name"/><order attribute="name"/><filter>'
    '<condition attribute="{}" operator="eq" value="0"/></filter></entity></fetch>'
)


@pytest.mark.parametrize(
    ("declared", "encoding", "attributes"),
    [("utf-8", "utf-8", ""), ("utf-16", "utf-16", ' count="7"'), ("utf-8", "utf-16", ' top="7"')],
)
def test_a_query_in_fetchxml_is_read_through_all_its_pages(
    desk: Desk, declared: str, encoding: str, attributes: str
) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?>{FETCH.format(attributes, "statecode")}'
    Path("open.xml").write_bytes(text.encode(encoding))  # the last as `>` of Windows PowerShell writes it
    planned = desk.run("bulk", "plan", "--fetchxml", "open.xml", "--lost", "--out", "p.jsonl", "--json").data
    ((open_now,),) = desk.sql("SELECT count(*) FROM opportunity WHERE statecode = 0")
    assert planned["rows"] == (7 if "top" in attributes else open_now)


def test_an_opportunity_that_a_query_finds_through_many_of_another_table_is_one_row(desk: Desk) -> None:
    link = '<link-entity name="quote" from="opportunityid" to="opportunityid"><all-attributes/></link-entity>'
    Path("q.xml").write_text(f'<fetch page="1"><entity name="opportunity">{link}</entity></fetch>', "utf-8")
    planned = desk.run("bulk", "plan", "--fetchxml", "q.xml", "--lost", "--out", "p.jsonl", "--json").data
    ((there,),) = desk.sql("SELECT count(DISTINCT opportunityid) FROM quote")
    assert planned["rows"] == there


def test_a_query_too_long_for_an_address_is_asked_in_a_batch(desk: Desk) -> None:
    values = "".join(f"<value>Opportunity {number}</value>" for number in range(1, 1500))
    condition = f'<condition attribute="name" operator="in">{values}</condition>'
    Path("q.xml").write_text(
        f'<fetch><entity name="opportunity"><filter>{condition}</filter></entity></fetch>', "utf-8"
    )
    planned = desk.run("bulk", "plan", "--fetchxml", "q.xml", "--lost", "--out", "p.jsonl", "--json").data
    ((there,),) = desk.sql("SELECT count(*) FROM opportunity")
    assert planned["rows"] == there


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '<fetch><entity name="account"/></fetch>',
            "The FetchXML is about account, and must be one about opportunities.",
        ),
        ('<fetch aggregate="true"><entity name="opportunity"/></fetch>', "counts or sums, and finds no opportunities"),
        ('<fetch page="2"><entity name="opportunity"/></fetch>', "begins in the middle of its rows."),
        (FETCH.format(' paging-cookie="x"', "statecode"), "begins in the middle of its rows."),
        ("<entity/>", "is no query of a table"),
        ("<fetch>", "is no FetchXML that can be read"),
        (FETCH.format("", "nope"), "Could not find a property named 'nope'"),
    ],
)
def test_fetchxml_that_finds_no_opportunities_is_told_and_nothing_is_written(
    desk: Desk, text: str, sentence: str
) -> None:
    Path("q.xml").write_text(text, encoding="utf-8")
    said = desk.run("bulk", "plan", "--fetchxml", "q.xml", "--lost", "--out", "p.jsonl")
    assert (said.code in {1, 2}, sentence in said.err, Path("p.jsonl").exists()) == (True, True, False), said.err


def test_a_query_that_finds_nothing_says_so_and_makes_no_job(desk: Desk) -> None:
    nothing = ("--where", "name eq 'There is none'", "--lost")
    planned = desk.run("bulk", "plan", *nothing, "--out", "p.jsonl")
    assert (planned.code, "The query finds no opportunities in " in planned.out) == (0, True)
    done = desk.run("bulk", "run", *nothing, "--job", "none", "--yes")
    assert (done.code, "nothing was done." in done.out) == (0, True)
    assert desk.run("bulk", "status", "none").code != 0
