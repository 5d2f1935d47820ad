"""Captures of real organizations, as far as public sources tell of them: what is not told is the emulator's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.organization.capture_file import capture_text
from connector.organization.capture_model import Capture
from tests.organization.asked import Asked

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "organizations"
TABLES = ("opportunity", "opportunityclose", "quote", "quoteclose")
Data = dict[str, Any]
Row = dict[str, Any]
_TYPES = {
    "string": "StringType", "bool?": "BooleanType", "int?": "IntegerType", "long?": "BigIntType", "Date?": "DateTimeType",
    "Guid": "UniqueidentifierType", "Guid?": "UniqueidentifierType", "List<ActivityParty>": "PartyListType",
    "EntityReference": "LookupType", "decimal?": "MoneyType",
}  # fmt: skip


def plain() -> Data:
    """The emulator's own organization, nothing of its own."""
    asked = Asked(EmulatorOptions(seeded=0))
    data: Data = json.loads(capture_text(asked.capture()))
    del data["digest"]
    data["of"] = "organization"
    return data


def rows(data: Data, section: str) -> list[Row]:
    found: list[Row] = data[section]["rows"]
    return found


def column(table: str, name: str, kind: str, **more: Any) -> Row:
    return {"table": table, "name": name, "type": f"{kind}Type", "schema_name": name, "custom": True} | more


def choices(table: str, name: str, labels: dict[int, dict[str, str]]) -> list[Row]:
    return [{"table": table, "column": name, "value": value, "labels": each} for value, each in labels.items()]


def stub(name: str) -> Row:
    return {"name": name, "entity_set": f"{name}s", "schema_name": name, "primary_id": f"{name}id", "primary_name": "name", "target": True}  # fmt: skip


def live_2024(data: Data) -> None:
    """All columns of a live organization of 2024; the emulator has others, and lacks some."""
    source = json.loads((FOLDER / "live_2024_slice.json").read_text(encoding="utf-8"))["tables"]
    known = {(row["table"], row["name"]): row for row in rows(data, "columns")}
    targets = {row["name"]: row for row in rows(data, "tables")}
    data["columns"]["rows"] = list(_live_columns(source, known))
    kept = {(row["table"], row["name"]) for row in rows(data, "columns")}
    data["choices"]["rows"] = [row for row in rows(data, "choices") if (row["table"], row["column"]) in kept]
    data["navigation"]["rows"] = [
        {"table": table, "name": each["navigation"], "column": each["column"], "target": each["target"]}
        for table in TABLES
        for each in source[table]["navigation"]
        if (table, each["column"]) in kept
    ]
    for table in TABLES:
        for each in source[table]["navigation"]:
            targets.setdefault(each["target"], stub(each["target"]) | {"entity_set": each["set"]})
    led_to = {row["target"] for row in rows(data, "navigation")}
    data["tables"]["rows"] = [row for row in targets.values() if row["name"] in led_to or not row.get("target")]
    listed = {(row["table"], row["column"]) for row in rows(data, "choices")}
    for row in rows(data, "columns"):
        if row["type"] == "BooleanType" and (row["table"], row["name"]) not in listed:
            both = {0: {"1033": "No"}, 1: {"1033": "Yes"}}
            rows(data, "choices").extend(choices(row["table"], row["name"], both))


def _live_columns(source: Data, known: dict[tuple[str, str], Row]) -> Iterator[Row]:
    for table in TABLES:
        told: dict[str, list[str]] = {}
        for each in source[table]["navigation"]:
            told.setdefault(each["column"], []).append(each["target"])
        for each in source[table]["columns"]:
            name = each["name"]
            fixed = known.get((table, name), {})
            made = column(table, name, "x", schema_name=each["schema_name"], custom="_" in name.removesuffix("_base"))
            made |= {
                "type": fixed.get("type") or _TYPES.get(each["clr"], "PicklistType"),
                "labels": {"1033": each["label"]},
            }
            made["update"] = name not in source[table]["read_only"]
            for field in ("precision", "precision_source", "format", "behavior", "max_length", "required", "targets"):
                if field in fixed:
                    made[field] = fixed[field]
            if made["type"] == "MoneyType":
                made |= {"precision": 4, "precision_source": 2}
            if made["type"] == "DateTimeType" and "behavior" not in made:
                made |= {"format": "DateAndTime", "behavior": "UserLocal"}
            if made["type"] == "LookupType":
                made["targets"] = told.get(name, made.get("targets", []))
            yield made
        listed = {each["name"] for each in source[table]["columns"]}
        # The source leaves out moments; these each table, or each activity, of each organization has.
        moments = [known.get((table, name)) for name in ("createdon", "modifiedon", "actualend")]
        yield from (row for row in moments if row and row["name"] not in listed)


def six_languages(data: Data) -> None:
    """Labels in six languages, base language Danish, two reasons that lack two of them; the states of a lead."""
    source = json.loads((FOLDER / "labels_six_languages.lead.json").read_text(encoding="utf-8"))["answers"]
    data["base_language"] = 1030

    def labels(option: Row) -> dict[str, str]:
        return {str(each["LanguageCode"]): each["Label"] for each in option["Label"]["LocalizedLabels"]}

    states = source["statecode"]["OptionSet"]["Options"]
    for row in rows(data, "states"):
        if row["table"] == "opportunity":
            row["labels"] = labels(states[row["value"]])
    others = [row for row in rows(data, "reasons") if row["table"] != "opportunity"]
    data["reasons"]["rows"] = others + [
        {"table": "opportunity", "value": each["Value"], "state": each["State"], "labels": labels(each)}
        for each in source["statuscode"]["OptionSet"]["Options"]
    ]
    defaults = {each["Value"]: each["DefaultStatus"] for each in states}
    for row in rows(data, "states"):
        if row["table"] == "opportunity":
            row["default_reason"] = defaults[row["value"]]


def portal(data: Data) -> None:
    """A product's own reasons in place of the usual ones; one is below 100,000,000, one is open."""
    source = json.loads((FOLDER / "portal_status_reasons.json").read_text(encoding="utf-8"))["opportunity"]
    data["reasons"]["rows"] = [row for row in rows(data, "reasons") if row["table"] != "opportunity"] + [
        {"table": "opportunity", "value": int(value), "labels": {"1033": label},
         "state": 0 if label in ("In Progress", "On Hold", "Open For Bidding", "Accepted") else 1 if label in ("Delivered", "Purchased") else 2}
        for value, label in source.items()
    ]  # fmt: skip
    labels = {int(value): {"1033": label} for value, label in source.items() if int(value) > 5}
    rows(data, "choices").extend(choices("opportunityclose", "opportunitystatuscode", labels))
    for row, default in zip(
        [row for row in rows(data, "states") if row["table"] == "opportunity"], (1, 100000004, 4), strict=True
    ):
        row["default_reason"] = default


def salesperson(data: Data) -> None:
    """The privileges of a live role: writes all opportunities, quotes of its unit only, creates its own activities."""
    source = json.loads((FOLDER / "roles_with_depth.json").read_text(encoding="utf-8"))
    role = next(role for role in source["roles"] if role["role"] == "Salesperson")["privileges"]
    names = {
        "opportunity": "Opportunity", "quote": "Quote", "activitypointer": "Activity", "competitor": "Competitor",
        "account": "Account", "contact": "Contact", "transactioncurrency": "TransactionCurrency",
    }  # fmt: skip
    verbs = ("Create", "Read", "Write", "Delete", "Append", "AppendTo")
    held = {
        f"prv{verb}{name}": role[table][verb] for table, name in names.items() for verb in verbs if verb in role[table]
    }
    reads = {
        "organization": "Organization", "systemuser": "User", "sdkmessage": "SdkMessage", "workflow": "Workflow",
        "sdkmessageprocessingstep": "SdkMessageProcessingStep", "plugintype": "PluginType",
        "plugintypestatistic": "PluginTypeStatistic", "callbackregistration": "CallbackRegistration",
    }  # fmt: skip
    held |= {f"prvRead{name}": role[table]["Read"] for table, name in reads.items() if table in role}
    data["privileges"]["rows"] = [{"name": name, "depth": depth} for name, depth in held.items()]
    if held.get("prvReadCallbackRegistration") == "Basic":
        data["flows"] |= {"read": "own", "why": "The caller's prvReadCallbackRegistration reaches Basic rows only."}


def flows_on_close(data: Data) -> None:
    """A flow for each won opportunity, one for each lost one with a facility; a step; a column that is a day only."""
    rows(data, "columns").extend(
        [
            column("opportunity", "ye_facility", "Lookup", targets=["ye_facility"], labels={"1033": "Facility"}),
            column("opportunity", "ye_preferredstart", "DateTime", format="DateOnly", behavior="DateOnly"),
            column("opportunity", "ye_firstsession", "DateTime", format="DateAndTime", behavior="UserLocal"),
            column("opportunity", "ye_listprice", "Money", precision=2, precision_source=2),
            column("opportunity", "ye_sessionhours", "Decimal", precision=2),
            column("opportunity", "ye_frequency", "Picklist", labels={"1033": "Frequency"}),
        ]
    )
    weekly = {100000000: {"1033": "Weekly"}, 100000001: {"1033": "Every two weeks"}, 100000002: {"1033": "Daily"}}
    rows(data, "choices").extend(choices("opportunity", "ye_frequency", weekly))
    rows(data, "tables").append(stub("ye_facility"))
    rows(data, "navigation").append(
        {"table": "opportunity", "name": "ye_facility", "column": "ye_facility", "target": "ye_facility"}
    )
    for number, (name, text) in enumerate(
        (
            ("Won: draft the booking", "statecode eq 1"),
            ("Lost: follow up", "statecode eq 2 and _ye_facility_value ne null"),
        )
    ):
        rows(data, "flows").append(
            {"id": f"03010000-0000-4000-8000-00000000000{number}", "name": name, "table": "opportunity", "message": 3,
             "scope": 4, "run_as": 1, "columns": ["statecode"], "filter": text}
        )  # fmt: skip
    rows(data, "steps").append(
        {"id": "264b7b04-d2b9-4111-aaaf-7ced8d49c94e", "name": "Pricing", "message": "Create", "table": "opportunity",
         "plug_in": "YE.OpportunityPricing", "origin": "own", "stage": 20, "rank": 1}
    )  # fmt: skip


def own_close_action(data: Data) -> None:
    """An action of the organization's own, bound to opportunity, that closes in its way."""
    name = "saleswin_ActionCloseOppty"
    rows(data, "processes").append(
        {"id": "1aafe5d6-50e0-49ae-944a-f32c8293f134", "name": "Action - CloseOppty", "kind": "action",
         "table": "opportunity", "unique_name": name}
    )  # fmt: skip
    rows(data, "messages").append({"table": "opportunity", "name": name})


def spanish(data: Data) -> None:
    """Base language Spanish only, phases as choices from 1 on, a currency without decimals."""
    data["base_language"] = 3082
    phases = {1: "1.  Prospección", 2: "2.  Calificación de Oportunidad"}
    rows(data, "columns").append(
        column("opportunity", "centella_phase", "Picklist", labels={"3082": "Fase Oportunidad"})
    )
    rows(data, "choices").extend(
        choices("opportunity", "centella_phase", {key: {"3082": text} for key, text in phases.items()})
    )
    data["currencies"]["rows"] = [{"code": "CLP", "precision": 0, "base": True}]
    for section in ("tables", "columns", "choices", "states", "reasons"):
        for row in rows(data, section):
            row["labels"] = (
                {"3082": f"{text}s"} if (text := row.get("labels", {}).get("1033")) else row.get("labels", {})
            )


def short_code(data: Data) -> None:
    """A short code as alternate key, a prefix twice in a name, several choices in one column, a secured column."""
    rows(data, "columns").extend(
        [
            column("opportunity", "new_oppcode", "String", max_length=20),
            column(
                "opportunity",
                "new_new_lastoutbounddate",
                "DateTime",
                format="DateAndTime",
                behavior="TimeZoneIndependent",
            ),
            column("opportunity", "new_aliases", "Memo", max_length=4000, secured=True),
            column("opportunity", "new_tags", "MultiSelectPicklist"),
        ]
    )
    rows(data, "column_access").append({"table": "opportunity", "name": "new_aliases", "read": True, "update": True})
    rows(data, "choices").extend(choices("opportunity", "new_tags", {1: {"1033": "A"}, 2: {"1033": "B"}}))
    rows(data, "keys").append(
        {"table": "opportunity", "name": "new_code", "columns": ["new_oppcode"], "status": "Active"}
    )


def banking(data: Data) -> None:
    """A vendor's layer for banks: three more open status reasons, and which of them may follow which."""
    more = {104800000: "Gathering Documents", 104800001: "Pending Customer Response", 104800002: "Finalizing Deal"}
    rows(data, "reasons").extend(
        {"table": "opportunity", "value": value, "state": 0, "labels": {"1033": label}, "transitions": [3, 4]}
        for value, label in more.items()
    )


def french(data: Data) -> None:
    """Base language French only, transitions off, the table with few columns of its own."""
    data["base_language"] = 1036
    for section in ("tables", "columns", "choices", "states", "reasons"):
        for row in rows(data, section):
            text = row.get("labels", {}).get("1033")
            row["labels"] = {"1036": f"{text} é"} if text else row.get("labels", {})
    next(row for row in rows(data, "tables") if row["name"] == "opportunity")["labels"] = {"1036": "Opportunité"}


LOAN = ("ims_applicationdate", "ims_loanstatusoptions", "ims_loanamtmax", "ims_loanterm", "ims_state", "ims_zip")
"""Some of the columns that the organization got within 17 days."""


def loan(data: Data) -> None:
    """The opportunity is called a loan, its originating lead the borrower; it has some columns more."""
    table = next(row for row in rows(data, "tables") if row["name"] == "opportunity")
    table |= {"labels": {"1033": "Loan"}, "plural_labels": {"1033": "Loans"}}
    kinds = {"date": "DateTime", "options": "Picklist", "max": "Money", "term": "Integer"}
    for name in LOAN:
        kind = next((kind for end, kind in kinds.items() if name.endswith(end)), "String")
        made = column("opportunity", name, kind, labels={"1033": name.removeprefix("ims_")})
        more: dict[str, Row] = {"Money": {"precision": 2, "precision_source": 0}, "String": {"max_length": 100},
                "DateTime": {"format": "DateAndTime", "behavior": "UserLocal"}}  # fmt: skip
        rows(data, "columns").append(made | more.get(kind, {}))
    rows(data, "choices").extend(choices("opportunity", "ims_loanstatusoptions", {1: {"1033": "Open"}}))
    for row in rows(data, "columns"):
        if row["name"] == "originatingleadid":
            row["labels"] = {"1033": "Borrower"}


ORGANIZATIONS: dict[str, Callable[[Data], None]] = {
    each.__name__: each
    for each in (
        live_2024, six_languages, portal, salesperson, flows_on_close, own_close_action, spanish, short_code, banking, french, loan
    )
}  # fmt: skip


def capture_of(name: str, base: Data) -> Capture:
    """The capture of one of the organizations; `base` is a plain one, left as it is."""
    data = json.loads(json.dumps(base))
    ORGANIZATIONS[name](data)
    return Capture.model_validate(data)
