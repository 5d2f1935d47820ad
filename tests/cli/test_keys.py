"""Records by the keys that people have, and users in whose name a row is closed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.world.customization import Customization
from tests.cli.desk import Desk

COLUMNS = """{"columns": [
  {"table": "opportunity", "name": "new_legacyid", "kind": "string", "max_length": 50, "labels": {"1033": "Legacy"}},
  {"table": "opportunity", "name": "new_number", "kind": "integer", "labels": {"1033": "Number"}}],
  "keys": [{"table": "opportunity", "name": "new_legacykey", "columns": ["new_legacyid"]}]}"""
SAM = "00000008-0000-4000-8000-000000000010"


@pytest.fixture(scope="session")
def keyed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keyed") / "organization.db"
    options = EmulatorOptions(seeded=40, customization=Customization.from_json(COLUMNS))
    open_embedded(path, SystemClock(), options).close()
    return path


@pytest.fixture
def keyed(
    keyed_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """A desk whose open opportunities have the legacy ids "L'0", "L'1" and so on, and numbers of which 7 is twice."""
    for path in keyed_file.parent.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_STORE", str(tmp_path / "jobs.db"))
    desk = Desk(tmp_path / keyed_file.name, capsys, monkeypatch)
    for number, id_ in enumerate(opportunities(desk)):
        desk.sql(
            "UPDATE opportunity SET new_legacyid = ?, new_number = ? WHERE opportunityid = ?",
            f"L'{number}",
            7 if number == 8 else number,
            id_,
        )
    return desk


def opportunities(desk: Desk) -> list[str]:
    return [str(id_) for (id_,) in desk.sql("SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY 1")]


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(text: str) -> None:
    Path("rows.csv").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("column", "value"), [("new_legacyid", "l'3 "), ("new_number", "3"), ("new_number", "03")])
def test_a_record_is_shown_planned_and_closed_by_its_key(keyed: Desk, column: str, value: str) -> None:
    id_ = opportunities(keyed)[3]
    assert keyed.run("show", value, "--key", column, "--json").data["id"] == id_
    plan = keyed.run("plan", value, "--key", column, "--won", "--json").data
    assert plan["opportunity_id"] == id_
    closed = keyed.run("close", value, "--key", column, "--won", "--if-plan", plan["digest"], "--json")
    assert (closed.code, closed.data["status"]) == (0, "closed")
    assert keyed.run("reopen", value, "--key", column, "--yes").code == 0


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("new_legacyid", "L-3", "There is no opportunity with new_legacyid 'L-3' that this user can see."),
        ("new_number", "three", "There is no opportunity with new_number 'three'"),
        ("new_number", "7", "2 records can be the opportunity with new_number '7': "),
        ("new_nope", "7", "The table opportunity has no column new_nope."),
        ("customerid", "7", "There is no opportunity with customerid '7' that this user can see."),
        ("createdon", "7", "The column createdon of opportunity is of type DateTime, which cannot be a key here."),
        ("new_number,new_legacyid", "7", "There is no opportunity with new_number '7' and new_legacyid 'nothing'"),
    ],
)
def test_a_key_without_exactly_one_record_is_told_with_the_candidates(
    keyed: Desk, column: str, value: str, sentence: str
) -> None:
    told = keyed.run("close", value, "--key", column, "--won", "--yes")
    assert (told.code, sentence in told.err) == (2, True), told.err
    if value == "7" and column == "new_number":
        assert all(id_ in told.err for id_ in opportunities(keyed)[7:9])


def test_a_key_may_have_several_columns_and_lookups_among_them(keyed: Desk) -> None:
    ids = opportunities(keyed)
    customers = dict(keyed.sql("SELECT opportunityid, customerid FROM opportunity"))
    keyed.sql("UPDATE opportunity SET new_number = 7 WHERE statecode = 0")
    for number in (4, 5):  # the same number twice with this customer
        keyed.sql("UPDATE opportunity SET customerid = ? WHERE opportunityid = ?", customers[ids[4]], ids[number])
        keyed.sql("UPDATE opportunity SET new_legacyid = ? WHERE opportunityid = ?", f'A,"{number}"', ids[number])
    value = f"7,{{{customers[ids[4]].upper()}}}"
    twice = keyed.run("show", value, "--key", "new_number,customerid").err
    assert "records can be the opportunity with new_number '7' and customerid" in twice
    assert all(id_ in twice for id_ in ids[4:6])
    exact = keyed.run("show", f'"A,""5""",{value}', "--key", "new_legacyid, new_number,_customerid_value", "--json")
    assert exact.data["id"] == ids[5]
    write(
        "new_number,outcome,NEW_LEGACYID\n7,won,L'1\n,won,L'2\n7,won,nope\n"
        f"https://org.emulator.invalid/main.aspx?etn=opportunity&id={ids[6]},won,\n"
    )
    asked = ("bulk", "plan", "rows.csv", "--key", "new_number,new_legacyid", "--keep", "outcome")
    assert keyed.run(*asked, "--rejects", "bad.csv", "--json").data["planned"] == 2
    assert [row["result.reason"].split(" that")[0] for row in rows("bad.csv")] == [
        "new_number is empty, and is a part of the key",
        "There is no opportunity with new_number '7' and new_legacyid 'nope'",
    ]
    write("new_number,outcome\n7,won\n")
    assert "there is no column 'new_legacyid', which is a part of the key" in keyed.run(*asked).err


def test_values_that_differ_only_by_case_are_told_apart_where_one_is_exact(keyed: Desk) -> None:
    ids = opportunities(keyed)
    for id_, value in zip(ids, ["006ab", "006AB"], strict=False):
        keyed.sql("UPDATE opportunity SET new_legacyid = ? WHERE opportunityid = ?", value, id_)
    assert keyed.run("show", "006AB", "--key", "new_legacyid", "--json").data["id"] == ids[1]
    assert "2 records can be" in keyed.run("show", "006aB", "--key", "new_legacyid").err


def test_a_file_of_keys_becomes_a_job_and_its_bad_rows_are_rejected_with_the_candidates(keyed: Desk) -> None:
    keyed.sql("UPDATE competitor SET name = 'Wingtip' WHERE name = 'Tailspin'")
    ids = opportunities(keyed)
    page = f"https://org.emulator.invalid/main.aspx?pagetype=entityrecord&etn=opportunity&id=%7b{ids[5]}%7d"
    write(
        "new_legacyid,outcome,competitor\n"
        "L'1,lost,litware\nL'2,lost,Nobody\nL'3,lost,Wingtip\nNone such,won,\n"
        f"{page},won,\n{page.replace('org.', 'other.')},won,\n"
    )
    assert keyed.run("bulk", "plan", "rows.csv", "--key", "new_legacyid").code == 2
    planned = keyed.run("bulk", "plan", "rows.csv", "--key", "new_legacyid", "--rejects", "bad.csv", "--json")
    assert (planned.code, planned.data["planned"]) == (0, 2)
    reasons = [row["result.reason"] for row in rows("bad.csv")]
    assert [reason.split(" that ")[0].split(":")[0] for reason in reasons] == [
        "There is no competitor 'Nobody'",
        "2 records can be the competitor 'Wingtip'",
        "There is no opportunity with new_legacyid 'None such'",
        "opportunityid",
    ]
    assert keyed.run("bulk", "run", "rows.plan.jsonl", "--yes", "--job", "keys").code == 0
    assert keyed.run("bulk", "report", "keys", "--out", "keys.csv").code == 0
    assert [(row["new_legacyid"], row["opportunityid"]) for row in rows("keys.csv")] == [
        ("L'1", ids[1]),
        (page, ids[5]),
    ]
    again = keyed.run("bulk", "run", "keys.csv", "--key", "new_legacyid", "--job", "again", "--yes", "--json")
    assert (again.code, again.data["already_closed"]) == (0, 2)
    assert keyed.sql("SELECT count(*) FROM opportunityclose WHERE competitorid IS NOT NULL") == [(1,)]


def test_the_winning_quote_may_be_named_by_its_number(keyed: Desk) -> None:
    number, id_ = keyed.sql(
        "SELECT q.quotenumber, q.opportunityid FROM quote q JOIN opportunity o ON o.opportunityid = q.opportunityid "
        "WHERE q.statecode = 1 AND o.statecode = 0 ORDER BY 1"
    )[0]
    unknown = keyed.run("close", id_, "--won", "--winning-quote", "QUO-0", "--yes", "--json")
    assert (unknown.code, unknown.data["reason_code"]) == (3, "winning_quote_unknown")
    assert number in unknown.data["reason"]
    assert keyed.run("close", id_, "--won", "--winning-quote", number.lower(), "--yes").code == 0
    assert keyed.sql("SELECT statecode FROM quote WHERE quotenumber = ?", number) == [(2,)]


def test_a_row_is_closed_in_the_name_of_its_user_and_that_is_bound_into_the_plan(keyed: Desk) -> None:
    ids = opportunities(keyed)
    users = ["sam.seller@contoso.invalid", "00000008-0000-4000-8000-00000000000a", SAM, ""]
    write("opportunityid,outcome,as_user\n" + "".join(f"{id_},won,{user}\n" for id_, user in zip(ids, users)))  # noqa: B905
    assert keyed.run("bulk", "plan", "rows.csv").code == 0
    lines = [json.loads(line) for line in Path("rows.plan.jsonl").read_text(encoding="utf-8").splitlines()[1:-1]]
    assert [line["request"].get("as_user") for line in lines] == [SAM, SAM, SAM, None]
    plain, acting = (keyed.run("plan", ids[0], "--won", *more, "--json").data for more in ([], ["--as-user", SAM]))
    assert (acting["as_user"], acting["digest"]) != (SAM, plain["digest"])
    assert keyed.run("bulk", "run", "rows.plan.jsonl", "--yes", "--job", "users").code == 0
    made = {id_: (by, behalf) for id_, by, behalf in keyed.sql(
        "SELECT opportunityid, createdby, createdonbehalfby FROM opportunityclose"
    )}  # fmt: skip
    application = "00000008-0000-4000-8000-000000000001"
    assert [made[id_] for id_ in ids[:4]] == [(users[1], application)] * 3 + [(application, None)]
    keyed.run("bulk", "report", "users", "--out", "users.csv")
    assert [row["as_user"] for row in rows("users.csv")] == [SAM, SAM, SAM, ""]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("UPDATE systemuser SET isdisabled = 1 WHERE fullname = 'Sam Seller'", "is disabled"),
        (
            "UPDATE systemuser SET azureactivedirectoryobjectid = NULL WHERE fullname = 'Sam Seller'",
            "no Entra object id",
        ),
        ("DELETE FROM _roleprivileges WHERE privilege = 'prvActOnBehalfOfAnotherUser'", "lacks prvActOnBehalfOf"),
        ("UPDATE systemuser SET domainname = 'x' WHERE fullname = 'Sam Seller'", "There is no user 'sam.seller@"),
    ],
)
def test_a_user_nobody_can_act_as_is_told_before_anything_is_written(keyed: Desk, change: str, sentence: str) -> None:
    keyed.sql(change)
    before, id_ = keyed.rows(), opportunities(keyed)[0]
    write(f"opportunityid,outcome,as_user\n{id_},won,sam.seller@contoso.invalid\n")
    told = [
        keyed.run("bulk", "run", "rows.csv", "--yes"),
        keyed.run("close", id_, "--won", "--as-user", "sam.seller@contoso.invalid", "--yes"),
    ]
    assert [(said.code, sentence in said.err) for said in told] == [(2, True)] * 2, told
    assert keyed.rows() == before


def test_a_job_makes_orders_and_takes_the_revenue_from_them(keyed: Desk) -> None:
    (number, id_, total), (other, other_id, _) = keyed.sql(
        "SELECT q.quotenumber, o.opportunityid, q.totalamount FROM quote q JOIN opportunity o USING (opportunityid)"
        " WHERE q.statecode = 1 AND o.statecode = 0 AND q.transactioncurrencyid = o.transactioncurrencyid"
        " GROUP BY o.opportunityid ORDER BY 1 LIMIT 2"
    )
    write(
        f"opportunityid,outcome,winning_quote,order,actual_revenue\n{id_},won,{number},yes,order\n{other_id},won,{other},,\n"
    )
    planned = keyed.run("bulk", "plan", "rows.csv", "--json").data
    assert (planned["planned"], planned["refused"]) == (2, 0)
    assert keyed.run("bulk", "run", "rows.plan.jsonl", "--yes", "--job", "orders").code == 0
    assert keyed.sql("SELECT opportunityid, totalamount FROM salesorder") == [(id_, total)]
    assert keyed.sql("SELECT actualvalue FROM opportunity WHERE opportunityid = ?", id_) == [(total,)]
    assert keyed.run("bulk", "reconcile", "orders").code == 0
    assert keyed.run("bulk", "run", "rows.csv", "--yes", "--job", "again").code == 0
    assert keyed.sql("SELECT count(*) FROM salesorder") == [(1,)]
    keyed.sql("DELETE FROM salesorder")
    assert "Its winning quote has no orders, not one as was asked." in keyed.run("bulk", "reconcile", "again").out
