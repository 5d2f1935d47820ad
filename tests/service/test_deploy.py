from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import azure.functions as func
import pytest

from connector.service.routes.sign_in_routes import SIGN_IN, SIGNED_IN
from connector.service.templates.page_view import PAGE
from connector.settings.service_settings import COLLECTORS
from tests.service.definition_lint.document import Document
from tests.service.test_definition import SWAGGER

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "scripts" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


# -- the image --------------------------------------------------------------------------------------------------------


def stages() -> list[str]:
    return re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]


def test_the_image_has_two_stages_on_one_pinned_base() -> None:
    base = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert base is not None
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base[1])
    assert [stage.split()[0] for stage in stages()] == ["${BASE}", "${BASE}"]


def test_everything_it_installs_is_pinned_by_hash() -> None:
    assert "--require-hashes --only-binary :all: -r serve.txt" in stages()[0]
    locked = (ROOT / "scripts" / "requirements" / "serve.txt").read_text(encoding="utf-8")
    wanted = re.findall(r"^([a-z0-9._-]+)(?:\[[a-z, ]+\])?==", locked, re.MULTILINE)
    assert {"fastapi", "uvicorn", "mcp", "pyjwt", "psycopg", "cryptography"} <= set(wanted)
    assert len(re.findall(r"^    --hash=sha256:", locked, re.MULTILINE)) >= len(wanted)


def test_the_last_stage_runs_as_nobody_in_particular_and_keeps_nothing_that_builds() -> None:
    last = stages()[-1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert last.index("USER 10001") > last.index("COPY --from=build")
    assert "pip uninstall --yes pip" in last
    assert not re.search(r"apt-get|gcc|pip install|hatchling", last)
    assert re.findall(r"^COPY (.*)$", last, re.MULTILINE) == ["--from=build /opt/connector /opt/connector"]
    assert "/healthz" in last


def test_the_build_sees_only_what_it_needs() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {part for line in lines for part in line.split()}
    assert copied == {entry[1:] for entry in ignored if entry.startswith("!")}
    assert all((ROOT / path).exists() for path in copied)


@pytest.mark.skipif(not (Path(sys.executable).parent / "hadolint").exists(), reason="hadolint has no wheel here")
def test_the_linter_of_dockerfiles_has_nothing_to_say() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    run = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


# -- the function app -------------------------------------------------------------------------------------------------


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Load the function app over an emulator in this process."""
    for name, value in {
        "DATAVERSE_URL": f"emulator:{tmp_path / 'emulator.db'}",
        "CONNECTOR_STORE": str(tmp_path / "jobs.db"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("function_app", DEPLOY / "functions" / "function_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.app.startup_task_done = False  # its finalizer would run a loop of its own
    module._endpoint.close()


def handler(functions: ModuleType, name: str) -> Any:
    found = {built.get_function_name(): built for built in functions.app.get_functions()}
    return found[name].get_user_function()


def request(method: str, path: str, body: Json | None = None, **headers: str) -> func.HttpRequest:
    sent = json.dumps(body).encode() if body is not None else b""
    url = f"https://127.0.0.1{path}"
    given = {"content-type": "application/json", "content-length": str(len(sent)), **headers}
    return func.HttpRequest(method=method, url=url, headers=given, route_params={"route": path[1:]}, body=sent)


def test_the_function_answers_as_the_endpoint_does(functions: ModuleType) -> None:
    async def ask() -> list[func.HttpResponse]:
        answer = handler(functions, "endpoint")
        answers = await asyncio.gather(*(answer(request("GET", "/healthz"), None) for _ in range(3)))
        answers.append(await answer(request("GET", "/version"), None))
        answers.append(await answer(request("GET", "/no-such-path"), None))
        await functions.app.middleware.notify_shutdown()
        return list(answers)

    answers = asyncio.run(ask())
    assert [answer.status_code for answer in answers[:4]] == [200] * 4
    assert answers[4].status_code == 403, "without sign-in only this machine is answered, and a host is not it"


def test_first_requests_that_come_together_start_the_app_once() -> None:
    started: Counter[str] = Counter()

    async def app(scope: Json, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            started["starts"] += 1
            await asyncio.sleep(0)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            started["stops"] += 1
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 204 if started["starts"] else 500, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    source = (DEPLOY / "functions" / "function_app.py").read_text(encoding="utf-8")
    wrapper = source[source.index("class StartedOnce") : source.index("_endpoint = ")]
    room: dict[str, Any] = {}
    exec("from __future__ import annotations\nimport asyncio\n" + wrapper, room)  # noqa: S102 - our own class, alone
    function_app = func.AsgiFunctionApp(app=room["StartedOnce"](app), http_auth_level=func.AuthLevel.ANONYMOUS)
    answer = function_app.get_functions()[0].get_user_function()

    async def ask() -> list[int]:
        answers = await asyncio.gather(*(answer(request("GET", "/"), None) for _ in range(5)))
        await function_app.middleware.notify_shutdown()
        function_app.startup_task_done = False
        return [a.status_code for a in answers]

    assert asyncio.run(ask()) == [204] * 5
    assert started == {"starts": 1, "stops": 1}


def test_the_function_is_anonymous_to_its_host_and_a_timer_wakes_it(functions: ModuleType) -> None:
    built = {b.get_function_name(): json.loads(b.get_function_json()) for b in functions.app.get_functions()}
    (endpoint,) = (binding for binding in built["endpoint"]["bindings"] if binding["type"] == "httpTrigger")
    assert (endpoint["authLevel"], endpoint["route"]) == ("ANONYMOUS", "/{*route}")
    assert {binding["type"] for binding in built["wake"]["bindings"]} == {"timerTrigger"}


def test_the_host_passes_paths_as_they_are() -> None:
    host = json.loads((DEPLOY / "functions" / "host.json").read_text(encoding="utf-8"))
    assert host["extensions"]["http"]["routePrefix"] == ""
    assert host["telemetryMode"] == "OpenTelemetry"


# -- Bicep ------------------------------------------------------------------------------------------------------------

BICEP = {path.name: path.read_text(encoding="utf-8") for path in sorted((DEPLOY / "bicep").glob("*.bicep"))}
PARAMETER = re.compile(r"^param (\w+) (\w+)( = .*)?$", re.MULTILINE)


TOKEN = re.compile(r"//[^\n]*|'(?:\\.|\$\{[^}]*\}|[^'\\])*'|[^'/]+|/")


def code(text: str) -> str:
    """Return Bicep without remarks, and of its strings only what is interpolated."""
    found = []
    for token in TOKEN.findall(text):
        if token.startswith("'"):
            found.append(f"'{' '.join(re.findall(r'[$][{].*?[}]', token))}'")
        elif not token.startswith("//"):
            found.append(token)
    return "".join(found)


@pytest.mark.parametrize("name", BICEP)
def test_brackets_close_in_order(name: str) -> None:
    waiting = []
    for sign in code(BICEP[name]):
        if sign in "([{":
            waiting.append(sign)
        elif sign in ")]}":
            assert waiting.pop() + sign in ("()", "[]", "{}")
    assert waiting == []


EXTENSION = re.compile(r"extension \w+")
"""How the extension for Microsoft Graph is declared since Bicep 0.30, which the grammar does not know yet."""


@pytest.mark.parametrize("name", BICEP)
def test_a_parser_of_bicep_understands_every_line(name: str) -> None:
    parsing = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip("tree_sitter_bicep")
    parser = parsing.Parser(parsing.Language(grammar.language()))

    def wrong(node: Any) -> Iterator[str]:
        if node.is_error or node.is_missing:
            yield node.text.decode()
        for below in node.children:
            yield from wrong(below)

    found = list(wrong(parser.parse(BICEP[name].encode()).root_node))
    assert [text for text in found if not EXTENSION.fullmatch(text)] == []
    assert list(wrong(parser.parse(b"resource x 'a@b' = {").root_node)), "it says no where there is reason to"


@pytest.mark.parametrize("name", BICEP)
def test_every_parameter_and_variable_is_used(name: str) -> None:
    names = [match[0] for match in PARAMETER.findall(BICEP[name])] + re.findall(r"(?m)^var (\w+) =", BICEP[name])
    plain = code(BICEP[name])
    assert [n for n in names if len(re.findall(rf"\b{n}\b(?!:)", plain)) < 2] == []


MODULE = re.compile(r"^module \w+ '([\w.]+)' = .*?^  params: \{\n(.*?)^  \}", re.MULTILINE | re.DOTALL)


def modules() -> list[tuple[str, set[str]]]:
    found = MODULE.findall(BICEP["main.bicep"])
    return [(name, set(re.findall(r"^    (\w+):", given, re.MULTILINE))) for name, given in found]


def test_every_module_exists_and_gets_exactly_what_it_takes() -> None:
    assert {name for name, _ in modules()} == set(BICEP) - {"main.bicep"}
    for name, given in modules():
        taken = {found[0]: bool(found[2]) for found in PARAMETER.findall(BICEP[name])}
        assert given <= set(taken), name
        assert {n for n, default in taken.items() if not default} <= given, name


def test_every_output_that_is_used_exists() -> None:
    used = re.findall(r"\b(\w+)!?\.outputs\.(\w+)", BICEP["main.bicep"])
    files = dict(re.findall(r"^module (\w+) '([\w.]+)'", BICEP["main.bicep"], re.MULTILINE))
    assert used
    for module, output in used:
        assert re.search(rf"^output {output} ", BICEP[files[module]], re.MULTILINE), (module, output)


def test_both_registrations_ask_for_tokens_of_version_2_and_have_no_secret() -> None:
    entra = BICEP["entra.bicep"] + BICEP["connector_app.bicep"]
    assert entra.count("'Microsoft.Graph/applications@v1.0'") == 2
    assert entra.count("requestedAccessTokenVersion: 2") == 2
    assert entra.count("federatedIdentityCredentials@v1.0") == 2
    assert entra.count("api://AzureADTokenExchange") == 2
    for text in BICEP.values():
        assert not re.search(r"passwordCredentials|clientSecret(?!SettingName)|keyCredentials|addPassword", text)
    settings = re.findall(r"clientSecretSettingName: '(\w+)'", BICEP["function_app.bicep"])
    assert settings == ["OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID"]


def test_the_registrations_know_where_people_come_back_and_what_the_connector_may_call() -> None:
    assert f"pageRedirectUri: 'https://${{host}}{SIGNED_IN}'" in BICEP["main.bicep"]
    assert "redirectUris: [pageRedirectUri]" in BICEP["entra.bicep"]
    access = BICEP["connector_app.bicep"].partition("requiredResourceAccess:")[2].partition("web:")[0]
    assert "resourceAppId: apiClientId" in access
    assert "id: scopeId" in access
    twice = re.findall(
        r"^module \w+ 'connector_app.bicep'.*?apiClientId: (\S+)", BICEP["main.bicep"], re.MULTILINE | re.DOTALL
    )
    assert twice == ["''", "entra.outputs.apiClientId"]


def test_the_platforms_sign_in_leaves_alone_what_needs_none_or_has_its_own() -> None:
    for name in ("container_app.bicep", "function_app.bicep"):
        paths = re.findall(r"'([^']+)'", BICEP[name].partition("excludedPaths: [")[2].partition("]")[0])
        for open_ in (*OPEN_PATHS, PAGE, SIGN_IN, SIGNED_IN):
            assert any(re.fullmatch(path.replace("*", ".+"), open_) for path in paths), (name, open_)


OPEN_PATHS = ("/", "/healthz", "/readyz", "/version", "/connector/icon.png", "/.well-known/oauth-protected-resource",
              "/operations/a.b.c", "/subscriptions/a.b", "/webhooks/dataverse")  # fmt: skip


def test_a_secret_is_secured_on_its_way_and_never_an_output() -> None:
    for name, text in BICEP.items():
        for parameter in re.findall(r"^param (\w*(?:[Ss]ecret|[Pp]assword))\b", text, re.MULTILINE):
            assert re.search(rf"@secure\(\)\n(@.*\n)*param {parameter} string", text), (name, parameter)
        for _, value in re.findall(r"^output (\w+) string = (.*)$", text, re.MULTILINE):
            assert not re.search(r"Password|serviceSecret\b|listKeys|ConnectionString", value)
    assert "secretRef: 'service'" in BICEP["container_app.bicep"]
    assert "@Microsoft.KeyVault(SecretUri=${serviceSecretUri})" in BICEP["function_app.bicep"]


def test_the_store_knows_the_managed_identity_alone_and_has_connections_for_all_instances() -> None:
    store = BICEP["store.bicep"]
    assert "passwordAuth: 'Disabled'" in store
    assert "name: identityPrincipalId" in store.partition("flexibleServers/administrators@")[2]
    assert "assword" not in store.replace("passwordAuth", "").partition("param ")[2]
    assert re.search(r"'postgresql://\$\{uriComponent\(identityName\)\}@", store)
    default = re.search(r"param maxInstances int = hosting == 'containerApp' \? (\d+) : (\d+)", BICEP["main.bicep"])
    most = re.search(r"@maxValue\((\d+)\)", BICEP["main.bicep"])
    assert default is not None
    assert most is not None
    assert 4 * int(default[1]) <= 35, "a container app has room in the smallest store"
    assert 4 * max(int(default[2]), int(most[1])) <= 414
    assert "maxReplicas: maxInstances" in BICEP["container_app.bicep"]
    assert "maximumInstanceCount: maxInstances" in BICEP["function_app.bicep"]


def test_the_platform_answers_401_and_never_redirects() -> None:
    for name in ("container_app.bicep", "function_app.bicep"):
        assert "unauthenticatedClientAction: 'Return401'" in BICEP[name]
        assert "RedirectToLoginPage" not in BICEP[name]
        assert "allowedApplications: [connectorClientId]" in BICEP[name]
        assert "allowedAudiences: [apiClientId, audience]" in BICEP[name]
    assert "allowInsecure: false" in BICEP["container_app.bicep"]
    assert "httpsOnly: true" in BICEP["function_app.bicep"]


def test_there_are_alerts_and_probes() -> None:
    for name in ("container_app.bicep", "function_app.bicep"):
        assert "Microsoft.Insights/metricAlerts" in BICEP[name]
        assert "actionGroupId: actionGroupId" in BICEP[name]
    probes = re.findall(r"type: '(\w+)'\n\s+httpGet: \{ path: '(/\w+)'", BICEP["container_app.bicep"])
    assert probes == [("Startup", "/healthz"), ("Liveness", "/healthz"), ("Readiness", "/readyz")]


def test_traces_go_to_the_collector_that_is_named_and_what_sends_them_is_installed() -> None:
    assert "empty(collector) ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: collector }" in BICEP["main.bicep"]
    assert COLLECTORS[0] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    wheel = (DEPLOY / "functions" / "requirements.txt").read_text(encoding="utf-8")
    assert "[service,postgres,telemetry]" in wheel
    locked = (DEPLOY.parent / "requirements" / "serve.txt").read_text(encoding="utf-8")
    assert "opentelemetry-exporter-otlp-proto-http==" in locked


def test_every_setting_that_is_set_exists() -> None:
    from connector.settings.environment import SETTINGS

    said = {name for text in BICEP.values() for name in re.findall(r"\b((?:DATAVERSE|CONNECTOR)_[A-Z_]+)\b", text)}
    assert said <= set(SETTINGS)


@pytest.mark.skipif(shutil.which("bicep") is None, reason="the Bicep compiler is not here")
def test_the_compiler_accepts_it() -> None:
    bicep = shutil.which("bicep")
    run = subprocess.run([str(bicep), "build", "--stdout", DEPLOY / "bicep" / "main.bicep"], check=False)
    assert run.returncode == 0


# -- flows ------------------------------------------------------------------------------------------------------------

SOLUTION = DEPLOY / "solution"
FLOWS = {
    path.stem.partition("-")[0]: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((SOLUTION / "Workflows").glob("*.json"))
}
CONNECTOR = Document("", SWAGGER, {})


def steps(actions: Json) -> Iterator[tuple[str, Json, Json]]:
    """Yield every action with its name and the actions beside it."""
    for name, action in actions.items():
        yield name, action, actions
        yield from steps(action.get("actions", {}))
        yield from steps(action.get("else", {}).get("actions", {}))


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_calls_the_connector_as_it_is(flow: str) -> None:
    properties = FLOWS[flow]["properties"]
    definition = properties["definition"]
    calls = [action for _, action, _ in steps(definition["actions"])] + list(definition["triggers"].values())
    calls = [call for call in calls if call["type"].startswith("OpenApiConnection")]
    assert calls
    for call in calls:
        assert call["inputs"]["host"]["connectionName"] in properties["connectionReferences"]
        operation = CONNECTOR.operation(call["inputs"]["host"]["operationId"])
        assert operation is not None
        takes = {place: needed for place, _, needed in CONNECTOR.inputs(operation)}
        given = set(call["inputs"]["parameters"])
        assert given <= set(takes)
        assert {place for place, needed in takes.items() if needed} - {"body/callbackUrl"} <= given


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_runs_in_an_order_that_exists(flow: str) -> None:
    everything = list(steps(FLOWS[flow]["properties"]["definition"]["actions"]))
    for name, action, beside in everything:
        assert set(action["runAfter"]) <= set(beside) - {name}
    names = {name for name, _, _ in everything}
    said = re.findall(r"(?:outputs|body|actions|result)\('(\w+)'\)", json.dumps(FLOWS[flow]))
    assert set(said) <= names


@pytest.mark.parametrize("flow", ["CloseAnOpportunity", "CloseAnOpportunityChild"])
def test_a_flow_has_an_error_branch_and_a_retry_setting(flow: str) -> None:
    actions = {name: action for name, action, _ in steps(FLOWS[flow]["properties"]["definition"]["actions"])}
    assert actions["Catch"]["runAfter"] == {"Try": ["Failed", "TimedOut"]}
    retry = actions["Close_the_opportunity"]["inputs"]["retryPolicy"]
    assert (retry["type"], retry["count"]) == ("exponential", 8)
    said = json.dumps(actions["Catch"])
    assert "['error']?['message']" in said
    assert "['error']?['code']" in said


def test_the_child_flow_answers_its_parent_whatever_happens() -> None:
    actions = FLOWS["CloseAnOpportunityChild"]["properties"]["definition"]["actions"]
    answers = [action for action in actions.values() if action["type"] == "Response"]
    assert [next(iter(a["runAfter"])) for a in answers] == ["Try", "Catch"]
    assert [name for name, action, _ in steps(actions) if action["type"] == "Terminate"] == [], (
        "it would end unanswered"
    )
    assert "outputs('Plan_the_close')" in answers[0]["inputs"]["body"]["result"], "a refused plan has no close"


def xml_of(path: Path) -> ET.Element:
    return ET.fromstring(path.read_bytes())


def test_the_solution_has_a_description_for_each_flow_and_names_each_once() -> None:
    roots = [root.attrib for root in xml_of(SOLUTION / "Other" / "Solution.xml").iter("RootComponent")]
    flows = sorted((SOLUTION / "Workflows").glob("*.json"))
    for flow in flows:
        described = xml_of(flow.with_name(f"{flow.name}.data.xml"))
        assert described.findtext("JsonFileName") == f"/Workflows/{flow.name}"
        assert described.attrib["WorkflowId"] == f"{{{flow.stem.partition('-')[2].lower()}}}"
        assert described.findtext("Category") == "5", "a cloud flow"
        assert {"type": "29", "id": described.attrib["WorkflowId"], "behavior": "0"} in roots
    assert len([root for root in roots if root["type"] == "29"]) == len(flows)


def test_every_connection_reference_and_environment_variable_of_a_flow_is_in_the_solution() -> None:
    customizations = xml_of(SOLUTION / "Other" / "Customizations.xml")
    references = {one.attrib["connectionreferencelogicalname"] for one in customizations.iter("connectionreference")}
    folder = SOLUTION / "environmentvariabledefinitions"
    variables = {path.parent.name: xml_of(path) for path in folder.glob("*/environmentvariabledefinition.xml")}
    roots = {root.get("schemaName") for root in xml_of(SOLUTION / "Other" / "Solution.xml").iter("RootComponent")}
    assert set(variables) <= roots
    for flow in FLOWS.values():
        for reference in flow["properties"]["connectionReferences"].values():
            assert reference["connection"]["connectionReferenceLogicalName"] in references
        for parameter in flow["properties"]["definition"]["parameters"].values():
            if "metadata" in parameter:
                variable = variables[parameter["metadata"]["schemaName"]]
                assert variable.findtext("defaultvalue") == parameter["defaultValue"]


def make_solution(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEPLOY / "make_solution.py", *arguments], capture_output=True, text=True, check=False
    )


def test_the_solution_is_made_for_the_connector_that_is_named(tmp_path: Path) -> None:
    connector = ("--connector", "shared_opc-5fclose", "--connector-id", "11111111-2222-3333-4444-555555555555")
    made = make_solution(*connector, "--out", str(tmp_path / "flows"))
    assert made.returncode == 0, made.stderr
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "flows").rglob("*") if path.is_file())
    assert set(re.findall(r"apis/(\S+?)[\"<]", text)) == {"shared_opc-5fclose"}
    assert "<connectorid>{11111111-2222-3333-4444-555555555555}" in text
    again = make_solution(*connector, "--out", str(tmp_path / "flows"))
    assert (again.returncode, "it exists already" in again.stderr) == (2, True)
    wrong = make_solution("--connector", "mine", *connector[2:], "--out", str(tmp_path / "other"))
    assert (wrong.returncode, (tmp_path / "other").exists()) == (2, False)


# -- what makers read -------------------------------------------------------------------------------------------------

README = (DEPLOY / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_what_a_maker_looks_for() -> None:
    headings = re.findall(r"^##+ (.*)$", README, re.MULTILINE)
    for wanted in ("Prerequisites", "Permissions", "Limits", "Known issues", "Errors", "Try it without a tenant"):
        assert wanted in headings


STUB = """#!/bin/bash
printf '%s\\n' "$(basename "$0") $*" >> calls
case "$*" in
    *digest*) echo sha256:0123 ;;
    *outputs.host*) echo close.contoso.com ;;
    *outputs*) echo some-id ;;
esac
"""
"""Stands in for the command line of Azure and what is called beside it."""


def test_the_lines_of_the_readme_can_be_copied_into_a_shell_one_after_another(tmp_path: Path) -> None:
    lines = README.partition("## Deploying")[2].partition("## The sample flows")[0]
    copied = "\n".join(re.findall(r"^ {4,}(?:.*)$", lines, re.MULTILINE))
    (tmp_path / "bin").mkdir()
    for name in ("az", "curl", "pac", "pip", "func"):
        (tmp_path / "bin" / name).write_text(STUB)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "scripts" / "deploy" / "functions").mkdir(parents=True)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    run = ["bash", "-euc", textwrap.dedent(copied)]
    subprocess.run(run, cwd=tmp_path, env={"PATH": path}, check=True, capture_output=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    (deployment,) = (call for call in calls if call.startswith("az deployment group create"))
    given = dict(re.findall(r" (\w+)=(\S+)", deployment))
    declared = set(re.findall(r"^param (\w+) ", (DEPLOY / "bicep" / "main.bicep").read_text(), re.MULTILINE))
    assert set(given) <= declared
    assert given["image"] == f"{given['registry']}.azurecr.io/opportunity-close@sha256:0123"
    assert len(base64.b64decode(given["serviceSecret"])) == 48
    assert "curl -s https://close.contoso.com/readyz" in calls
    signed_in, *others = [call for call in calls if call.startswith("pac ")]
    assert signed_in == "pac auth create --deviceCode --environment https://ORG.crm4.dynamics.com"
    assert [call.split()[1] for call in others] == ["connector"]
    options = set(re.findall(r"options? `(\w+)", " ".join(lines.split())))
    assert {"hosting", "connectorIssuer", "connectorRedirectUri"} <= options <= declared


def test_settings_without_an_option_are_kept_over_deployments(tmp_path: Path) -> None:
    (line,) = re.findall(r"OPTIONS='[^']* more=[^']*'", README)
    told = subprocess.run(
        ["bash", "-c", f"{line}; printf '%s\\n' $OPTIONS"], check=True, capture_output=True, cwd=tmp_path
    )
    *_, more = told.stdout.decode().splitlines()
    assert json.loads(more.removeprefix("more=")).keys() <= {"CONNECTOR_SERVICE_API_KEYS"}
    assert re.search(r"(?ms)^var settings = union\(watched, \{.*?^\}, more\)$", BICEP["main.bicep"])
    for name in ("CONNECTOR_SERVICE_WEBHOOK_KEYS", "CONNECTOR_SERVICE_CLIENTS"):
        assert re.search(rf"`{name}[^`]*`\s\(by the option `more`\)", README)


def test_the_readme_says_what_comes_first_and_what_travels() -> None:
    connector = README.partition("## The connector")[2].partition("\n## ")[0]
    words = " ".join(connector.split())
    assert "must be imported **before** the solution with connection references and flows" in words
    assert "environment variables for host and client id" in words
    assert "save it again after changing one" in words
    versions = " ".join(README.partition("## Versions")[2].partition("\n## ")[0].split())
    assert "marked deprecated with its replacement and serves on for 30 days" in versions


def test_every_error_code_that_is_raised_is_explained() -> None:
    raised = set()
    for path in (ROOT / "connector" / "service").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        raised |= set(re.findall(r"(?:declined|busy|Failure)\(\s*HTTPStatus\.\w+,\s*\"(\w+)\"", text))
    assert raised
    assert sorted(code for code in raised if f"| `{code}` |" not in README) == []


def test_every_file_that_the_readme_names_exists() -> None:
    named = re.findall(r"`((?:bicep|solution|functions)/[\w./]*|Dockerfile|make_solution\.py)`", README)
    assert named
    assert [name for name in named if not (DEPLOY / name).exists()] == []
