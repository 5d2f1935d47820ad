"""npm's dynamics-web-api, the JavaScript client most pages use, against the emulator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from connector.emulator.background import ServedEmulator

VERSION = "2.5.0"
ROOT = Path(__file__).parents[2]
SCRIPT = """
const { DynamicsWebApi } = require("dynamics-web-api");
const [url, authority, clientId, secret] = process.argv.slice(2);
const opportunity = "00000003-0000-4000-8000-000000000001";
const quote = (n) => `00001084-0000-4000-8000-00000000001${n}`;
async function token() {
  const body = new URLSearchParams({grant_type: "client_credentials", client_id: clientId, client_secret: secret,
    scope: `${url}/.default`});
  return (await (await fetch(`${authority}/oauth2/v2.0/token`, {method: "POST", body})).json()).access_token;
}
(async () => {
  const api = new DynamicsWebApi({serverUrl: url, dataApi: {version: "9.2"}, onTokenRefresh: token});
  const out = {};
  out.before = await api.retrieve({collection: "opportunities", key: opportunity, select: ["name", "statecode"],
    expand: [{property: "opportunity_quotes", select: ["statecode"]}], includeAnnotations: "*"});
  out.open = (await api.retrieveMultiple({collection: "quotes", select: ["statecode"],
    filter: `_opportunityid_value eq ${opportunity}`, count: true})).value.length;
  const made = await api.create({collection: "opportunities", data: {name: "Made in JavaScript"},
    returnRepresentation: true, select: ["name"]});
  await api.update({collection: "opportunities", key: made.opportunityid, data: {description: "changed"}});
  out.pages = (await api.retrieveAll({collection: "opportunities", select: ["name"], maxPageSize: 50})).value.length;
  const win = () => ({OpportunityClose: {"opportunityid@odata.bind": `/opportunities(${opportunity})`}, Status: 3});
  try { await api.callAction({actionName: "WinOpportunity", action: win()}); }
  catch (error) { out.blocked = {status: error.status, code: error.code, message: error.message}; }
  await api.update({collection: "quotes", key: quote(1), data: {statecode: 1, statuscode: 2}});
  api.startBatch();
  for (const n of [1, 2]) api.callAction({actionName: "CloseQuote", action: {
    QuoteClose: {"quoteid@odata.bind": `/quotes(${quote(n)})`}, Status: 5}});
  api.callAction({actionName: "WinOpportunity", action: win()});
  await api.executeBatch();
  out.after = await api.retrieve({collection: "opportunities", key: opportunity, select: ["statecode", "statuscode"]});
  console.log(JSON.stringify(out));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="module")
def modules() -> Path:
    """The folder of installed packages, kept between runs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("dynamics-web-api needs node and npm, which are not on this machine")
    folder = ROOT / ".state" / f"dynamics-web-api-{VERSION}"
    if not (folder / "node_modules" / "dynamics-web-api").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--fetch-timeout=60000", f"dynamics-web-api@{VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install dynamics-web-api: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def test_it_reads_writes_is_refused_and_closes_in_a_batch(
    server: ServedEmulator, modules: Path, tmp_path: Path
) -> None:
    script = tmp_path / "client.js"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(server.ca_file), "NODE_PATH": str(modules / "node_modules")}
    command = ["node", str(script), server.url, server.authority, server.client_id, server.client_secret]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out["before"]["name"] == "Opportunity 1"
    assert sorted(one["statecode"] for one in out["before"]["opportunity_quotes"]) == [0, 1]
    assert (out["open"], out["pages"]) == (2, 307)
    assert out["blocked"]["status"] == 400
    assert out["blocked"]["code"] == "0x80040516"
    assert (out["after"]["statecode"], out["after"]["statuscode"]) == (1, 3)
