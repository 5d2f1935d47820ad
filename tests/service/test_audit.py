"""The endpoint's part of the audit log: one entry for each thing asked and each thing done, of each tenant."""

from __future__ import annotations

from connector.ledger.audit import AuditFilter
from tests.service.stage import Stage

WON = {"outcome": "won"}


def test_what_cannot_be_written_down_is_not_begun(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client(workers=0) as client:
        before = client.get(f"/opportunities/{opportunity}").json()
        with stage.ledger.database.transaction() as transaction:
            transaction.run("ALTER TABLE audit RENAME TO gone")
        answer = client.post(f"/opportunities/{opportunity}/close", json=WON)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "store_unavailable"
        assert "audit" not in answer.json()["error"]["message"], "what the store says is for the log"
        assert stage.ledger.database.rows("SELECT state FROM job") == []
        assert client.get(f"/opportunities/{opportunity}").json() == before
        with stage.ledger.database.transaction() as transaction:
            transaction.run("ALTER TABLE gone RENAME TO audit")
    with stage.client() as client:
        again = client.post(f"/opportunities/{opportunity}/close", json=WON)
        assert (again.status_code, again.json()["result"]) == (200, "closed"), "it was mended, and it is sent again"


def test_an_endpoint_whose_store_cannot_be_written_is_not_ready(stage: Stage) -> None:
    stage.ledger.database.rows("PRAGMA query_only = ON")
    with stage.client(workers=0) as client:
        probe = client.get("/readyz")
        assert (probe.status_code, probe.json()["checks"]["store"]) == (503, "LedgerError")
        stage.ledger.database.rows("PRAGMA query_only = OFF")
        assert client.get("/readyz").status_code == 200


def test_requests_repetitions_and_what_operators_do_are_all_there(stage: Stage) -> None:
    opportunity = stage.opportunity()
    address, body, key = f"/opportunities/{opportunity}/close", WON | {"mode": "accept"}, {"idempotency-key": "a"}
    with stage.client(workers=0) as client:
        first = client.post(address, json=body, headers=key)
        client.post(address, json=body, headers=key)
        client.post(f"/operations/{first.json()['operationId']}/cancel")
    entries = stage.log()
    assert [entry["event"] for entry in entries] == ["accepted", "repeated", "canceled"]
    assert {entry["job"] for entry in entries} == {first.json()["operationId"]}
    assert {entry["opportunity"] for entry in entries} == {str(opportunity)}


def test_entries_belong_to_the_tenant_of_who_asked(stage: Stage) -> None:
    with stage.client() as client:
        client.post(f"/opportunities/{stage.opportunity()}/close", json=WON)
    audit = stage.ledger.audit
    assert len(list(audit.entries(AuditFilter(tenant="development")))) == 2
    assert list(audit.entries(AuditFilter(tenant="another"))) == []
