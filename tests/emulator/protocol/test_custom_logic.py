"""The organization's own logic: what a plug-in or a flow may do, and what a client reads when it says no."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.emulator.world.custom_logic import LogicContext, LogicError
from tests.emulator.conftest import CLOSER
from tests.emulator.protocol.client import Client
from tests.emulator.protocol.test_batch import batch, change_set, close_body, member, single, statuses

STEP = "11111111-2222-4333-8444-555555555555"
PREFIX = "@Microsoft.PowerApps.CDS."


def quote_close(quote: str, status: int = 5) -> dict[str, Any]:
    return {"Status": status, "QuoteClose": {"subject": "c", "quoteid@odata.bind": f"/quotes({quote})"}}


def refusing(message: str, stage: str = "pre", **said: Any) -> Callable[[LogicContext], None]:
    def plugin(context: LogicContext) -> None:
        if (context.message, context.stage) == (message, stage):
            context.abort("Approval is missing.", **said)

    plugin.step_id = STEP  # type: ignore[attr-defined]
    return plugin


def state(client: Client, row: str) -> tuple[int, int]:
    found = client.get(f"{row}?$select=statecode,statuscode")
    return found["statecode"], found["statuscode"]


@pytest.mark.parametrize("stage", ["pre", "post"])
def test_a_plug_in_that_aborts_undoes_the_message_and_is_named(client: Client, quotes: list[str], stage: str) -> None:
    client.world.logic.add(refusing("CloseQuote", stage, trace="looked at 3 rows"), assembly="contoso")
    response = client.send("POST", "CloseQuote", quote_close(quotes[1]), prefer='odata.include-annotations="*"')
    error = json.loads(response.body)["error"]
    assert (response.status, error["code"], error["message"]) == (400, "0x80040265", "Approval is missing.")
    details = {name.removeprefix(f"{PREFIX}ErrorDetails."): text for name, text in error.items()}
    assert details["ApiExceptionSourceKey"].startswith("Plugin/contoso.plugin, contoso, Version=1.0.0.0")
    assert (details["ApiStepKey"], details["ApiDepthKey"]) == (STEP, "1")
    assert (details["ApiPluginSolutionNameKey"], details["ApiExceptionMessageName"]) == ("Active", "IsvAborted")
    assert error[f"{PREFIX}InnerError.Message"] == "Approval is missing."
    assert f"[{STEP}: contoso.plugin: CloseQuote of quote]\r\nlooked at 3 rows" in error[f"{PREFIX}TraceText"]
    assert json.loads(details["StepErrorDetails"]) == [{"Id": STEP, "Status": 400}]
    assert state(client, f"quotes({quotes[1]})") == (1, 2)


def test_a_plug_in_that_crashes_is_a_failure_of_the_system(client: Client, quotes: list[str]) -> None:
    client.world.logic.add(lambda context: context.crash() if context.message == "CloseQuote" else None)
    response = client.send("POST", "CloseQuote", quote_close(quotes[1]), prefer='odata.include-annotations="*"')
    error = json.loads(response.body)["error"]
    assert (response.status, error["code"]) == (500, "0x8004418d")
    assert error["message"].startswith("The plug-in execution failed because no Sandbox Worker processes")
    assert error[f"{PREFIX}ErrorDetails.ApiExceptionCategory"] == "SystemFailure"


def test_an_exception_nobody_meant_is_answered_for(client: Client) -> None:
    def plugin(context: LogicContext) -> None:
        dict[str, object]()[context.message]

    client.world.logic.add(plugin)
    status, code, message = client.error("POST", "accounts", {"name": "x"})
    assert (status, code) == (400, "0x80040224")
    assert "KeyError" in message


def test_plug_ins_see_the_message_and_what_it_brings(client: Client, quotes: list[str], account: str) -> None:
    seen: list[tuple[Any, ...]] = []

    def plugin(context: LogicContext) -> None:
        seen.append((context.stage, context.message, context.table, context.record_id, dict(context.parameters)))
        assert (context.user_id, context.depth) == (client.caller.user_id, 1)

    client.world.logic.add(plugin)
    client.send("PATCH", f"accounts({account})", {"name": "y"})
    client.send("POST", "CloseQuote", quote_close(quotes[1]))
    key = client.create("accounts", {"name": "z"})
    client.send("DELETE", f"accounts({key})")
    update = ("Update", "account", account, {"Target": {"name": "y", "accountid": account}})
    closing = {"Status": 5, "QuoteClose": {"@table": "quoteclose", "subject": "c", "quoteid": quotes[1]}}
    assert seen[:4] == [
        ("pre", *update),
        ("post", *update),
        ("pre", "CloseQuote", "quote", quotes[1], closing),
        ("post", "CloseQuote", "quote", quotes[1], closing),
    ]
    assert [one[:4] for one in seen[4:]] == [
        ("pre", "Create", "account", ""),
        ("post", "Create", "account", key),
        ("pre", "Delete", "account", key),
        ("post", "Delete", "account", key),
    ]


def test_what_plug_ins_write_past_the_rules_stands_or_falls_with_the_message(
    client: Client, quotes: list[str], opportunity: str
) -> None:
    fail = [True]

    def plugin(context: LogicContext) -> None:
        if (context.message, context.stage) != ("CloseQuote", "post"):
            return
        for row in context.query("quote", opportunityid=opportunity, statecode=0):
            context.update("quote", str(row["quoteid"]), {"statecode": 3, "statuscode": 6})
        key = context.create("account", {"name": "made by a plug-in", "statecode": 1})
        assert context.retrieve("account", key)["statecode"] == 1
        if fail[0]:
            context.abort("no", code="0x80048d01", status=403)

    client.world.logic.add(plugin)
    assert client.error("POST", "CloseQuote", quote_close(quotes[1])) == (403, "0x80048d01", "no")
    assert [state(client, f"quotes({key})")[0] for key in quotes] == [0, 1, 0]
    fail[0] = False
    assert client.send("POST", "CloseQuote", quote_close(quotes[1])).status == 204
    assert [state(client, f"quotes({key})")[0] for key in quotes] == [3, 3, 3]
    assert client.get("accounts?$select=name&$filter=name eq 'made by a plug-in'")["value"] != []


def test_a_change_set_rolls_back_with_its_plug_ins(client: Client, quotes: list[str], opportunity: str) -> None:
    made: list[str] = []

    def plugin(context: LogicContext) -> None:
        if (context.message, context.stage) == ("CloseQuote", "post"):
            made.append(context.create("account", {"name": "noted"}))

    flows: list[str] = []
    client.world.logic.add(plugin)
    client.world.logic.add(lambda context: flows.append(context.message), "flow")
    text = batch(
        change_set(
            member(1, "POST CloseQuote", json.dumps(quote_close(quotes[1]))),
            member(2, "POST WinOpportunity", close_body(3, opportunity)),  # refused: a draft is left
        )
    )
    assert statuses(client.batch(text)) == [400]
    assert (len(made), flows) == (1, [])
    assert client.send("GET", f"accounts({made[0]})").status == 404
    assert state(client, f"quotes({quotes[1]})") == (1, 2)


def test_a_message_a_plug_in_sends_goes_through_rules_and_plug_ins(client: Client, quotes: list[str]) -> None:
    depths: list[tuple[str, int]] = []

    def plugin(context: LogicContext) -> None:
        if context.stage == "post":
            depths.append((context.message, context.depth))
        if (context.message, context.stage) == ("CloseQuote", "post"):
            target = {"@table": "quote", "quoteid": quotes[0], "statecode": 1, "statuscode": 2}
            context.execute("Update", {"Target": target})
            context.execute("WinQuote", {"Status": 4, "QuoteClose": {"subject": "w", "quoteid": quotes[0]}})
            made = context.execute(
                "Create", {"Target": {"@odata.type": "#Microsoft.Dynamics.CRM.account", "name": "n"}}
            )
            context.execute("Delete", {"Target": {"@table": "account", "accountid": made}})
            bind = {"quoteid@odata.bind": f"/quotes({quotes[1]})"}
            context.execute("CloseQuote", {"Status": 5, "QuoteClose": bind})  # closed already

    client.world.logic.add(plugin)
    status, code, _ = client.error("POST", "CloseQuote", quote_close(quotes[1]))
    assert (status, code) == (400, "0x80040216")
    assert depths == [("CloseQuote", 1), ("Update", 2), ("WinQuote", 2), ("Create", 2), ("Delete", 2)]
    assert state(client, f"quotes({quotes[0]})") == (0, 1)


def test_a_plug_in_cannot_go_on_after_an_error_of_its_own(client: Client, account: str) -> None:
    def plugin(context: LogicContext) -> None:
        if (context.message, context.stage) == ("Update", "post"):
            try:
                context.execute("Delete", {"Target": {"@table": "account", "accountid": STEP}})
            except Exception:  # noqa: BLE001 - what is tested
                return

    client.world.logic.add(plugin)
    status, code, message = client.error("PATCH", f"accounts({account})", {"name": "y"})
    assert (status, code) == (400, "0x80040251")
    assert message.startswith("There is no active transaction.")
    assert client.get(f"accounts({account})?$select=name")["name"] == "Litware, Inc."


def test_logic_without_end_is_refused_after_eight_calls(client: Client, account: str) -> None:
    depths = []

    def plugin(context: LogicContext) -> None:
        if (context.message, context.stage) == ("Update", "post"):
            depths.append(context.depth)
            context.execute("Update", {"Target": {"@table": "account", "accountid": account, "name": "again"}})

    client.world.logic.add(plugin)
    status, code, message = client.error("PATCH", f"accounts({account})", {"name": "y"})
    assert (status, code) == (400, "0x80044182")
    assert message.startswith(
        "This workflow job was canceled because the workflow that started it included an infinite"
    )
    assert depths == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "headers",
    [
        {"MSCRM.BypassBusinessLogicExecution": "CustomSync"},
        {"MSCRM.BypassBusinessLogicExecution": "CustomAsync,CustomSync"},
        {"MSCRM.BypassBusinessLogicExecutionStepIds": STEP.upper()},
        {"MSCRM.BypassCustomPluginExecution": "true"},
    ],
)
def test_custom_logic_is_left_out_with_the_privilege_and_not_without(
    client: Client, account: str, headers: dict[str, str]
) -> None:
    client.world.logic.add(refusing("Update"))
    given = {name.lower(): value for name, value in headers.items()}
    assert client.send("PATCH", f"accounts({account})", {"name": "y"}).status == 400
    assert client.send("PATCH", f"accounts({account})", {"name": "y"}, **given).status == 204
    lines = [f"{name}: {value}" for name, value in headers.items()]
    text = batch(single(f"PATCH accounts({account})", '{"name":"z"}', *lines))
    assert statuses(client.batch(text)) == [204]
    client.caller = client.world.caller_for(application_id=CLOSER)
    status, code, message = client.error("PATCH", f"accounts({account})", {"name": "y"}, **given)
    privilege = "prvBypassCustomPlugins" if "mscrm.bypasscustompluginexecution" in given else "prvBypassCustomBusiness"
    assert (status, code) == (403, "0x80040220")
    assert f"is missing {privilege}" in message


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("mscrm.bypassbusinesslogicexecution", "Custom", "0x0"),
        ("mscrm.bypasscustompluginexecution", "yes", "0x0"),
        ("mscrm.bypassbusinesslogicexecutionstepids", ",".join([STEP] * 4), "0x80040203"),
    ],
)
def test_bypassing_in_a_way_there_is_not_is_refused(
    client: Client, account: str, name: str, value: str, code: str
) -> None:
    assert client.error("PATCH", f"accounts({account})", {"name": "y"}, **{name: value})[:2] == (400, code)


def test_bypassing_does_not_reach_what_other_logic_causes(client: Client, account: str) -> None:
    def plugin_outer(context: LogicContext) -> None:
        if (context.message, context.stage, context.depth) == ("Update", "post", 1):
            context.execute("Update", {"Target": {"@table": "account", "accountid": account, "name": "inner"}})

    seen: list[int] = []

    def plugin(context: LogicContext) -> None:
        seen.append(context.depth)

    plugin.step_id = STEP  # type: ignore[attr-defined]
    client.world.logic.add(plugin_outer)
    client.world.logic.add(plugin)
    given = {"mscrm.bypassbusinesslogicexecutionstepids": STEP}
    assert client.send("PATCH", f"accounts({account})", {"name": "y"}, **given).status == 204
    assert seen == [2, 2]


def test_flows_and_asynchronous_plug_ins_come_after_the_commit_and_reach_no_client(
    client: Client, account: str
) -> None:
    order: list[str] = []

    def plugin(context: LogicContext) -> None:
        order.append(f"plug-in {context.stage} {client.world.store.depth}")
        context.update("account", account, {"description": "undone"})
        context.abort("nobody reads this")

    def flow(context: LogicContext) -> None:
        order.append(f"flow {client.world.store.depth}")
        if context.depth == 1:
            context.execute("Update", {"Target": {"@table": "account", "accountid": account, "telephone1": "1"}})

    plugin.mode = "async"  # type: ignore[attr-defined]
    client.world.logic.add(plugin)
    client.world.logic.add(flow, "flow")
    assert client.send("PATCH", f"accounts({account})", {"name": "y"}).status == 204
    assert order == ["plug-in post 1", "flow 0", "plug-in post 1", "flow 0"]
    row = client.get(f"accounts({account})?$select=name,telephone1,description")
    assert (row["name"], row["telephone1"], row["description"]) == ("y", "1", None)
    order.clear()
    given = {"mscrm.suppresscallbackregistrationexpanderjob": "true"}
    client.caller = client.world.caller_for(application_id=client.caller.application_id)
    assert client.send("PATCH", f"accounts({account})", {"name": "z"}, **given).status == 204
    assert order == ["plug-in post 1"]
    order.clear()
    given |= {"mscrm.bypassbusinesslogicexecution": "CustomAsync"}
    assert client.send("PATCH", f"accounts({account})", {"name": "z"}, **given).status == 204
    assert order == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "defines neither plugin(context) nor flow(context)"),
        ("def plugin(:", "cannot be loaded: SyntaxError"),
        ("raise OSError('no')", "cannot be loaded: OSError: no"),
        ("def plugin(c): ...\nplugin.mode = 'later'", "is sync or async, not 'later'"),
        ("def flow(c): ...\nflow.step_id = 'x'", "is a GUID, not 'x'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(client: Client, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.py"
    path.write_text(text)
    with pytest.raises(LogicError, match=r"rules") as refused:
        client.world.logic.load(path)
    assert said in str(refused.value)
