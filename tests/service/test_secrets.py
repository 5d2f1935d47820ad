"""Nothing that is secret or a customer's reaches a log, a store or an audit trail, at the most talkative level."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from connector.clock import SystemClock
from connector.emulator.background import served
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.ledger.audit import AuditFilter
from connector.ledger.store import open_ledger
from tests.service.messages import win_message
from tests.service.process import polled, serving
from tests.service.test_kill import OPEN, found
from tests.service.test_process import KEY, keyed

WEBHOOK_KEY, REMARK = "the-webhooks-key", "what the customer said in confidence"
CALLBACK = "https://prod-01.westeurope.logic.azure.com/workflows/1/triggers/2?sp=%2Frun&sig=SECRETSIGNATURE"


def test_a_day_at_the_endpoint_leaves_no_secret_behind(tmp_path: Path, emulator_keys: Keys) -> None:
    secrets = {KEY, WEBHOOK_KEY, REMARK, "SECRETSIGNATURE", "eyJ", "wrong-key", "bearer-of-nobody"}
    with served(EmulatorOptions(seeded=20), SystemClock(), tmp_path, emulator_keys) as emulated:
        first, second = found(emulated, OPEN)[:2]
        digest = hashlib.sha256(WEBHOOK_KEY.encode()).hexdigest()
        settings = keyed(emulated) | {
            "CONNECTOR_SERVICE_WEBHOOK_KEYS": f"{emulated.tenant_id}:{digest}",
            "CONNECTOR_LOG_LEVEL": "DEBUG",
        }
        secrets |= {emulated.client_secret, *found(emulated, "SELECT quotenumber FROM quote")}
        secrets |= set(found(emulated, f"SELECT name FROM opportunity WHERE opportunityid = '{first}'"))
        signed = {"x-api-key": KEY}
        with serving(tmp_path, **settings) as process:
            close = f"/opportunities/{first}/close"
            subscribed = process.ask("POST", "/subscriptions", {"callbackUrl": CALLBACK}, signed)
            assert subscribed.status == 201
            accepted = process.ask("POST", close, {"outcome": "won", "mode": "accept", "description": REMARK}, signed)
            done = polled(process, accepted)
            assert done.json()["result"] == "closed"
            assert process.ask("POST", close, {"outcome": "lost", "subject": REMARK}, signed).status == 409
            assert process.ask("POST", close, {"outcome": "sold", "subject": REMARK}, signed).status == 400
            assert process.ask("POST", f"/opportunities/{second}/plan", {"outcome": "won"}, signed).status == 200
            assert process.ask("GET", f"/opportunities/{second}", None, signed).status == 200
            assert process.ask("GET", "/operations-page", None, signed).status == 200
            assert process.ask("GET", "/connection", None, {"x-api-key": "wrong-key"}).status == 401
            assert process.ask("GET", "/connection", None, {"authorization": "Bearer bearer-of-nobody"}).status == 401
            message, told = win_message(UUID(second)), {"x-connector-webhook-key": WEBHOOK_KEY}
            assert process.ask("POST", "/webhooks/dataverse", message, told).status in (200, 204)
            assert process.ask("DELETE", urlsplit(subscribed.headers["location"]).path).status == 204
        secrets |= {answer.headers["location"].rpartition(".")[2] for answer in (accepted, subscribed)}
    written = [path for path in tmp_path.iterdir() if path.name.startswith("log-")]
    with open_ledger(str(tmp_path / "jobs.db"), SystemClock()) as ledger:
        entries = [entry.data() for entry in ledger.audit.entries(AuditFilter())]
    text = "\n".join([*(path.read_text() for path in written), json.dumps(entries)])
    assert "/opportunities/{id}/close" in text
    assert text.count("/api/data/v9.2/") > 5, "it was talkative"
    assert [secret for secret in secrets if secret in text] == []
    assert entries[0]["event"] == "accepted"
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("jobs.db"))
    for secret in (KEY, WEBHOOK_KEY, "SECRETSIGNATURE", "eyJ", emulated.client_secret):
        assert secret.encode() not in stored, secret
