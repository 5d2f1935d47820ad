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
        assert (probe.status_code, probe.json()["checks"]["store"]) == (503, "unavailable")
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


def test_whatever_an_agent_changes_through_its_tools_is_in_the_log(stage: Stage) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:

        def call(name: str, **arguments: object) -> object:
            tool = {"name": name, "arguments": {"opportunityId": str(opportunity), **arguments}}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool}
            answer = client.post("/mcp", json=message, headers={"accept": "application/json, text/event-stream"})
            return answer.json()["result"]["structuredContent"]["result"]

        assert call("close_opportunity_with_quotes", outcome="won") == "unconfirmed"
        assert stage.log() == []
        assert call("close_opportunity_with_quotes", outcome="won", confirmed=True) == "closed"
        assert call("reopen_opportunity", confirmed=True) == "reopened"
    entries = stage.log()
    assert [entry["event"] for entry in entries] == ["accepted", "closed", "accepted", "reopened"]
    assert {entry["opportunity"] for entry in entries} == {str(opportunity)}


def test_entries_belong_to_the_tenant_of_who_asked(stage: Stage) -> None:
    with stage.client() as client:
        client.post(f"/opportunities/{stage.opportunity()}/close", json=WON)
    audit = stage.ledger.audit
    assert len(list(audit.entries(AuditFilter(tenant="development")))) == 2
    assert list(audit.entries(AuditFilter(tenant="another"))) == []
