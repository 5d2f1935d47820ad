"""Every request on the Web API's pages: sent as it stands, or named with the reason why it is not."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from connector.emulator.seeding.emulator_options import EMBEDDED_URL
from tests.emulator.stranger.samples import Sample, samples, send
from tests.emulator.stranger.wire import Stranger

ALL = {one.number: one for one in samples(EMBEDDED_URL)}

OTHER_SERVICE = "the solution checker, another service"
TASKS = "tasks, e-mails, cases, leads, notes, queues, teams: tables that closing does not touch"
DEFINING = "changing table definitions"
RELATIONSHIPS = "RelationshipDefinitions; EntityDefinitions lists the same by table"
DEEP = "creating related rows in one request"
KEYS = "alternate keys: no table of the slice has one"
OWN_ACTION = "a custom action of the page's own organization"
FUNCTIONS = "functions that closing does not need"
FETCH = "FetchXML in a request"
PLACEHOLDER = "the page writes a placeholder where a value goes"
BROKEN = "the page's own mistake: a brace too many, a GUID too short, a name without its underscore"

OUTSIDE: dict[str, tuple[int, ...]] = {
    OTHER_SERVICE: (1, 3, 6, 8, 10, 12, 14),
    TASKS: (
        *(27, 94, 96, 117, 118, 119, 126, 137, 139, 141, 181, 187, 189, 191, 192, 193, 206, 208),
        *(234, 244, 290, 365, 371, 376, 427),
    ),
    DEFINING: (44, 46, 48, 50, 52, 54, 56, 58),
    RELATIONSHIPS: (155, 156, 157),
    DEEP: (35, 284),
    KEYS: (173, 174),
    OWN_ACTION: (237, 374, 379, 381),
    FUNCTIONS: (39, 240, 241, 242, 362),
    FETCH: (168, 431, 435),
    PLACEHOLDER: (61, 63, 65, 66, 100),
    BROKEN: (41, 92, 179),
}
REASONS = {number: reason for reason, numbers in OUTSIDE.items() for number in numbers}

MISSING = {101, 353}
"""The page says of these that the row is not there."""
REFUSED = {250, 252}
"""The page shows these to say that they fail."""
FRESH = {98, 320, 335}
"""The ETag on the page is the row's present one."""
REPLACED = {
    60: {"myorg": "contoso"},
    62: {"myorg": "contoso"},
    67: {"myorg": "contoso"},
    90: {"e39c5d16-675b-48d1-8e67-667427e9c084": "00000008-0000-4000-8000-000000000010"},
    151: {"5967e7cc-afbb-4c10-bf7e-e7ef430c52be": "ACCOUNT/accountcategorycode"},
    153: {"5967e7cc-afbb-4c10-bf7e-e7ef430c52be": "ACCOUNT/accountcategorycode"},
    198: {"70816501-edb9-4740-a16c-6a5efbc05d84": "ACCOUNT"},
    200: {
        "70816501-edb9-4740-a16c-6a5efbc05d84": "ACCOUNT",
        "118771ca-6fb9-4f60-8fd4-99b6124b63ad": "ACCOUNT/accountcategorycode",
    },
    314: {"v8.1": "v9.0"},
}
"""What the page takes from its own organization, and what it is here: names, users, ids of definitions, the version."""


def ours(client: Stranger, name: str) -> str:
    """Return the id here of a definition: ACCOUNT, or ACCOUNT/column."""
    if not name.startswith("ACCOUNT"):
        return name
    path = "EntityDefinitions(LogicalName='account')"
    column = name.partition("/")[2]
    return str(client.read(path + (f"/Attributes(LogicalName='{column}')" if column else ""))["MetadataId"])


def prepare(client: Stranger, sample: Sample) -> Sample:
    """Bring the organization into the situation of the page; return the request with what differs replaced."""
    sets = {one["name"] for one in client.read("")["value"]}
    for entity_set, key in sample.rows():
        if entity_set in sets and sample.number not in MISSING:
            values = {"lastname": "x", "telephone1": "555-0105"} if entity_set == "contacts" else {"name": "x"}
            assert client.send("PATCH", f"{entity_set}({key})", values).status_code == 204
    _relate(client, sample)
    target, body, headers = sample.target, sample.body.decode(), json.dumps(sample.headers)
    for old, name in REPLACED.get(sample.number, {}).items():
        new = ours(client, name)
        target, body, headers = target.replace(old, new), body.replace(old, new), headers.replace(old, new)
    given = json.loads(headers)
    if sample.number in FRESH:
        etag = client.send("GET", re.sub(r"\?.*", "?$select=name", target)).headers["ETag"]
        given |= {name: etag for name in ("if-match", "if-none-match") if name in given}
    return Sample(sample.number, sample.page, sample.answered, sample.method, target, given, body.encode())


def _relate(client: Stranger, sample: Sample) -> None:
    if sample.number == 20:
        account, deal = sample.rows()[0][1], "00000000-0000-0000-0000-000000000001"
        assert client.send("PATCH", f"opportunities({deal})", {"name": "x"}).status_code == 204
        body = {"@odata.id": f"{client.api}opportunities({deal})"}
        path = f"accounts({account})/opportunity_customer_accounts/$ref"
        assert client.send("POST", path, body).status_code == 204
    if sample.number == 177:
        contact = client.create("contacts", {"lastname": "x"})
        body = {"primarycontactid@odata.bind": f"/contacts({contact})"}
        assert client.send("PATCH", f"accounts({sample.rows()[0][1]})", body).status_code == 204
    for number, key, table in (
        (162, "121c6fd8-1975-e511-80d4-00155d2a68d1", "account"),
        (445, "7ec390ab-c943-e611-80d5-00155da84802", "contact"),
    ):
        if sample.number == number:
            fetch = f'<fetch><entity name="{table}"><attribute name="{table}id"/></entity></fetch>'
            row = {"userqueryid": key, "name": "Mine", "returnedtypecode": table, "fetchxml": fetch}
            client.create("userqueries", row)


def test_every_documented_request_is_sent_or_named() -> None:
    named = Counter(number for numbers in OUTSIDE.values() for number in numbers)
    assert max(named.values()) == 1
    assert set(named) <= set(ALL)
    assert (len(ALL), len(named), len(ALL) - len(named)) == (194, 67, 127)


@pytest.mark.parametrize("number", sorted(set(ALL) - set(REASONS)))
def test_a_documented_request_is_answered_with_the_documented_status(stranger: Stranger, number: int) -> None:
    sample = prepare(stranger, ALL[number])
    status = send(stranger, sample)
    if sample.answered is not None:
        assert status == sample.answered
    elif number in REFUSED:
        assert status == 400
    else:
        assert 200 <= status < 300


@pytest.mark.parametrize("number", sorted(number for reason, some in OUTSIDE.items() for number in some
                                          if reason not in (OTHER_SERVICE, PLACEHOLDER)))  # fmt: skip
def test_what_is_outside_is_refused_and_never_half_understood(stranger: Stranger, number: int) -> None:
    assert send(stranger, ALL[number]) in (400, 404, 501)
