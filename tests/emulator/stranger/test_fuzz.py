"""Nothing of a request is skipped: whatever is dropped, renamed, added or doubled changes the answer or is refused."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.emulator.stranger.wire import Stranger, fresh_id

TOKEN = re.compile(r"'(?:[^']|'')*'|@?\$?[A-Za-z_][\w.]*|-?\d+(?:\.\d+)?|[^\w\s]")
WITHOUT_EFFECT = {"asc"}
"""The default direction may be said or not."""
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
NAMES, SIZES, TEXTS, MARKS = ("a", "b", "ab"), (None, 1, 2), (None, "q", "r"), (True, False)


@pytest.fixture
def every(stranger: Stranger) -> Stranger:
    """Accounts with every combination of four columns, so that no condition on them says what another one says."""
    columns = ("name", "numberofemployees", "description", "creditonhold")
    rows = [dict(zip(columns, one, strict=True)) for one in itertools.product(NAMES, SIZES, TEXTS, MARKS)]
    stranger.control("POST", "seed", {"account": [{k: v for k, v in row.items() if v is not None} for row in rows]})
    return stranger


ATOMS = {
    "name": ["name eq 'a'", "name ne 'b'", "contains(name,'b')", "startswith(name,'a')", "endswith(name,'b')",
             "Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=['a','b'])"],
    "numberofemployees": ["numberofemployees eq 1", "numberofemployees gt 1", "numberofemployees eq null",
                          "Microsoft.Dynamics.CRM.Between(PropertyName='numberofemployees',PropertyValues=['2','3'])"],
    "description": ["description eq 'q'", "description ne null", "description eq null"],
    "creditonhold": ["creditonhold eq true", "creditonhold ne true"],
}  # fmt: skip


@st.composite
def filters(draw: st.DrawFn) -> str:
    """A filter that uses each column once, with parentheses only where they are needed."""
    columns = draw(st.lists(st.sampled_from(sorted(ATOMS)), min_size=1, max_size=4, unique=True))
    atoms = [draw(st.sampled_from(ATOMS[column])) for column in columns]
    atoms = [f"not {one}" if re.match(r"[a-z]+\(", one) and draw(st.booleans()) else one for one in atoms]
    if len(atoms) < 3:
        return draw(st.sampled_from([" and ", " or "])).join(atoms)
    return f"({atoms[0]} or {atoms[1]}) and {' and '.join(atoms[2:])}"


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A query of accounts whose every option matters."""
    select = draw(st.lists(st.sampled_from(sorted(ATOMS)), min_size=1, max_size=3, unique=True))
    options = [f"$select={','.join(select)}", f"$filter={draw(filters())}"]
    if draw(st.booleans()):
        options.append("$orderby=accountid desc")
    options += draw(st.sampled_from([[], ["$count=true"], ["$count=true", "$top=1"]]))
    return "accounts?" + "&".join(options)


def answer(client: Stranger, path: str, **headers: str) -> tuple[int, Any]:
    found = client.send("GET", path, **headers)
    body = found.json() if found.content.startswith(b"{") else found.text
    return found.status_code, body


def tokens(query: str) -> list[re.Match[str]]:
    return list(TOKEN.finditer(query))


@SETTINGS
@given(query=queries())
def test_a_dropped_token_changes_the_answer(every: Stranger, query: str) -> None:
    whole = answer(every, query)
    assert whole[0] == 200, whole
    assume(len(answer(every, query.replace("&$top=1", ""))[1]["value"]) > 1)
    same = []
    for token in tokens(query):
        shorter = query[: token.start()] + query[token.end() :]
        if token.group() not in WITHOUT_EFFECT and answer(every, shorter) == whole:
            same.append((token.group(), shorter))
    assert same == []


@SETTINGS
@given(query=queries(), junk=st.sampled_from(["nothing", "eq", "0", "'x'", ",", ")", "(", "$top=1", "null", "/", ";"]),
       at=st.floats(0, 1))  # fmt: skip
def test_an_added_token_is_refused_or_changes_the_answer(every: Stranger, query: str, junk: str, at: float) -> None:
    places = [token.start() for token in tokens(query)][2:]
    place = places[int(at * (len(places) - 1))]
    longer = f"{query[:place]}{junk} {query[place:]}"
    assume(", &" not in longer)  # documented samples end $select with a comma
    found = answer(every, longer)
    assert found[0] >= 400 or found != answer(every, query), longer


@SETTINGS
@given(query=queries(), at=st.floats(0, 1))
def test_a_renamed_word_is_refused(every: Stranger, query: str, at: float) -> None:
    words = [token for token in tokens(query) if re.match(r"[A-Za-z_$@]", token.group())]
    word = words[int(at * (len(words) - 1))]
    for other in (f"{word.group()}x", word.group().swapcase()):
        renamed = query[: word.start()] + other + query[word.end() :]
        assert answer(every, renamed)[0] >= 400, renamed


EXPANDS = st.sampled_from(
    [
        "opportunity_quotes($select=name;$filter=statecode eq 0;$orderby=name desc;$top=1)",
        "opportunity_quotes($select=quotenumber;$orderby=name),customerid_account($select=name)",
        "Opportunity_OpportunityClose($select=subject),parentaccountid($select=name;$expand=primarycontactid($select=fullname))",
    ]
)


@SETTINGS
@given(expand=EXPANDS, at=st.floats(0, 1))
def test_inside_an_expand_nothing_is_skipped_either(stranger: Stranger, expand: str, at: float) -> None:
    contact = stranger.create("contacts", {"lastname": "Roe"})
    account = stranger.create("accounts", {"name": "A", "primarycontactid@odata.bind": f"/contacts({contact})"})
    names = ("customerid_account@odata.bind", "parentaccountid@odata.bind")
    deal = stranger.deal(**dict.fromkeys(names, f"/accounts({account})"))
    for name, state in (("b", 0), ("c", 0), ("a", 1)):
        stranger.offer(deal, state=state, name=name)
    query = f"opportunities({deal})?$select=name&$expand={expand}"
    whole = answer(stranger, query)
    assert whole[0] == 200, whole
    found = tokens(query)[9:]
    token = found[int(at * (len(found) - 1))]
    shorter = query[: token.start()] + query[token.end() :]
    assert answer(stranger, shorter) != whole, (token.group(), shorter)


HEADERS = {
    "Prefer": ['odata.include-annotations="*"', "odata.maxpagesize=1", "odata.track-changes"],
    "If-None-Match": ["*"],
    "CallerObjectId": ["99999999-0000-4000-8000-000000000000"],
    "MSCRMCallerID": ["99999999-0000-4000-8000-000000000000"],
}
REFUSED = {
    "Prefer": ["nothing", "odata.maxpagesize=0", "return=all", "odata.maxpagesize=2,odata.maxpagesize=3"],
    "If-Match": ["*"],
    "Accept": ["text/html", "application/xml"],
    "OData-Version": ["3.0", "5.0"],
    "OData-MaxVersion": ["2.0"],
}


@pytest.mark.parametrize(("name", "value"), [(name, one) for name, some in HEADERS.items() for one in some])
def test_a_header_that_matters_changes_the_answer(every: Stranger, name: str, value: str) -> None:
    path = "accounts?$select=name,creditonhold"
    assert answer(every, path, **{name.replace("-", "_"): value}) != answer(every, path)


@pytest.mark.parametrize(("name", "value"), [(name, one) for name, some in REFUSED.items() for one in some])
def test_a_header_with_a_value_that_is_not_served_is_refused_by_name(every: Stranger, name: str, value: str) -> None:
    status, _, words = every.refused("GET", "accounts?$select=name", **{name.replace("-", "_"): value})
    assert status in (400, 406, 415)
    assert name.lower() in words.lower() or value.partition("=")[0] in words


BODY: dict[str, object] = {
    "name": "n", "description": "d", "revenue": 5.5, "numberofemployees": 3, "creditonhold": True, "address1_city": "c",
}  # fmt: skip


@SETTINGS
@given(dropped=st.sampled_from(sorted(BODY)))
def test_every_property_of_a_body_is_kept(stranger: Stranger, dropped: str) -> None:
    whole, short = stranger.create("accounts", BODY), dict(BODY)
    del short[dropped]
    path = f"accounts({{}})?$select={','.join(BODY)}"
    first = stranger.read(path.format(whole))
    assert BODY.items() <= first.items()
    second = stranger.read(path.format(stranger.create("accounts", short)))
    assert second[dropped] != first[dropped]


@SETTINGS
@given(
    name=st.sampled_from(["nothing", "Name", "name ", "name@odata.x", "@odata.nothing", "_ownerid_value", "new_x"]),
    value=st.sampled_from([None, "x", 1, {}, []]),
    inside=st.sampled_from(["create", "update", "action", "entity"]),
)
def test_a_property_that_is_not_there_is_refused_and_nothing_happens(
    stranger: Stranger, name: str, value: object, inside: str
) -> None:
    deal = stranger.deal()
    before = stranger.send("GET", "accounts/$count").text
    entity: dict[str, object] = {"opportunityid@odata.bind": f"/opportunities({deal})"}
    body: dict[str, object] = {"OpportunityClose": entity, "Status": 5}
    if inside in ("create", "update"):
        path = "accounts" if inside == "create" else f"opportunities({deal})"
        found = stranger.send("POST" if inside == "create" else "PATCH", path, {"description": "d", name: value})
    else:
        (entity if inside == "entity" else body)[name] = value
        found = stranger.send("POST", "LoseOpportunity", body)
    assert found.status_code in (400, 501), (name, value, inside, found.status_code)
    assert stranger.send("GET", "accounts/$count").text == before
    assert stranger.state("opportunities", deal) == (0, 1)
    assert stranger.read(f"opportunities({deal})?$select=description")["description"] is None


LINES = ["--b", "Content-Type: application/http", "Content-Transfer-Encoding: binary", "", "POST accounts HTTP/1.1",
         "Content-Type: application/json", "", '{"name":"x"}', "--b--"]  # fmt: skip


@pytest.mark.parametrize("at", range(len(LINES)))
def test_a_line_missing_from_a_batch_changes_the_answer(stranger: Stranger, at: int) -> None:
    lines = LINES[:at] + LINES[at + 1 :]
    sent = ("\r\n".join(lines) + "\r\n").encode()
    found = stranger.send("POST", "$batch", sent, Content_Type="multipart/mixed; boundary=b")
    made = stranger.send("GET", "accounts/$count").text
    inner_type = LINES[at] == "Content-Type: application/json"
    assert (found.status_code, made) == (200, "1") if inner_type else (found.status_code >= 400 and made == "0")


def test_control_characters_and_foreign_letters_come_back_as_they_went(stranger: Stranger) -> None:
    for text in ("a\tb\nc", "Ω≈ç√", "'\"<>&%_[]", "\u202eabc", "😀"):
        made = stranger.create("accounts", {"accountid": fresh_id(), "name": text})
        assert stranger.read(f"accounts({made})?$select=name")["name"] == text
        assert json.loads(stranger.send("GET", f"accounts({made})?$select=name").content)["name"] == text
