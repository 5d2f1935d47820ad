"""Takes a capture: about fifty reads, named columns only, each section with how much of it could be seen.

Sources: bypass-custom-business-logic (steps by message, `canbebypassed`), bypass-power-automate-flows
(callbackregistrations), the table references of workflow, plugintypestatistic, transactioncurrency and organization.
Flows belong to users: a caller whose privilege reaches its own rows is told of no other, without any error.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any, Literal, TypeVar
from uuid import UUID

from connector.clock import Clock
from connector.dataverse.answers import decoding
from connector.dataverse.diagnosis import Diagnosis
from connector.dataverse.metadata import named_messages
from connector.dataverse.reading import Row, WebApi, rows_of
from connector.dataverse.user_access import TABLE_RULES, access_questions, table_rules
from connector.dataverse.webapi import Operation
from connector.errors import Effect, InputError, ServiceError, Throttled, Unauthorized
from connector.organization.capture_model import (
    DEFINITIONS,
    SLICE,
    VERSION,
    AnswerFact,
    Capture,
    ColumnAccessFact,
    Coverage,
    CurrencyFact,
    FlowFact,
    LimitFact,
    Logic,
    MessageFact,
    PrivilegeFact,
    ProcessFact,
    Section,
    SettingFact,
    StepFact,
    TimeFact,
    VolumeFact,
    sorted_section,
)
from connector.organization.definition_reading import (
    access_facts,
    flow_fact,
    process_fact,
    read_definitions,
    step_fact,
    table_filter,
)
from connector.organization.fact_source import fact_of
from connector.organization.safe_requests import ReadingOnly

EVENTS = ("Win", "Lose", "Close", "SetState", "Update", "Create", "Delete")
"""Under these names plug-ins register for what a close sends or sets off (nishantrana.me; table reference of steps)."""
ACTIONS = ("WinOpportunity", "LoseOpportunity", "CloseQuote", "WinQuote", "msdyn_CloseAllOpportunityQuotes",
           "msdyn_CloseQuoteAsLost", "msdyn_CloseQuoteAsWon")  # fmt: skip
_SETTINGS = ("currencydecimalprecision", "pricingdecimalprecision", "oobpricecalculationenabled",
             "isquickcreateenabledforopportunityclose")  # fmt: skip
_SETTINGS_ROW = f"languagecode,_basecurrencyid_value,{','.join(_SETTINGS)}"
_PRIVILEGES = tuple(
    f"prv{verb}{table}"
    for verb in ("Create", "Read", "Write", "Delete", "Append", "AppendTo")
    for table in ("Opportunity", "Quote", "Activity", "Account", "Contact", "Competitor", "TransactionCurrency")
) + tuple(
    f"prv{name}"
    for name in (
        "ReadSdkMessage", "ReadSdkMessageProcessingStep", "ReadPluginType", "ReadPluginTypeStatistic", "ReadWorkflow",
        "ReadCallbackRegistration", "ReadOrganization", "ReadUser", "ReadUserSettings", "ReadEntity",
        "ActOnBehalfOfAnotherUser", "BypassCustomBusinessLogic", "BypassCustomPlugins",
    )
)  # fmt: skip
MOST_PAGES = 400  # of 5,000 rows, that volumes are counted on
_SUBJECT = "Capturing the organization"
_ASK = "Ask with `connector doctor --probe OPPORTUNITY`."
_OF_OTHERS = "The file holds a capture of another organization or by another user; it was left as it is."
T = TypeVar("T")


class CaptureReading:
    """Reads what shapes a close in an organization; writes nothing."""

    def __init__(self, api: WebApi, clock: Clock) -> None:
        self._reads = ReadingOnly(api.handler)
        self._api = WebApi(self._reads, api.endpoint)
        self._diagnosis = Diagnosis(self._reads, api.endpoint.base_url, impersonate=api.endpoint.impersonate)
        self._clock = clock

    def take(
        self,
        of: Literal["organization", "emulator"],
        *,
        old: Capture | None = None,
        volumes: bool = False,
        answers: Section[AnswerFact] | None = None,
    ) -> Capture:
        """Return the capture. Definitions are taken from `old` where the metadata has not moved since.

        Raises ConnectorError when not even the caller is known, nothing answers, or `old` is of others.
        """
        signed_in, user = self._diagnosis.who_am_i(), self._diagnosis.acting_user()
        privileges = self._section(lambda: self._privileges(user))
        settings_row = self._tried(self._settings_row)
        stamp = read_metadata_stamp(self._api)
        head: dict[str, Any] = {
            "organization": str(signed_in.organization_id),
            "version": self._tried(self._diagnosis.version) or "",
            "metadata": stamp,
            "caller": caller_mark(user),
        }
        if old is not None and (old.organization, old.caller) != (head["organization"], head["caller"]):
            raise InputError(_OF_OTHERS, remedy="Name another with --out.")
        same = old is not None and stamp and all(getattr(old, name) == value for name, value in head.items())
        sections = {name: getattr(old, name) for name in DEFINITIONS} if same else self._definitions()
        sections |= self._rest(user, privileges, settings_row, volumes=volumes)
        probe_answers = answers or Section(read=Coverage.NOT_ASKED, why=_ASK)
        limits_seen = self._reads.seen_with(old.limits.rows if old is not None else ())
        return Capture(
            capture=VERSION,
            taken=self._clock.now().replace(microsecond=0),
            of=of,
            base_language=int((settings_row or {}).get("languagecode") or 1033),
            limits=sorted_section([LimitFact(name=name, value=value) for name, value in limits_seen.items()]),
            answers=probe_answers,
            **head,
            **sections,
        )

    def logic(self) -> Logic:
        """Return what a close may set off, as far as this user may read it; flows without their names."""
        return self._logic(self._section(lambda: self._privileges(self._diagnosis.acting_user())), {})

    def currencies(self) -> Section[CurrencyFact]:
        """Return the currencies."""
        return self._section(lambda: self._currencies(self._tried(self._settings_row)))

    def _logic(self, privileges: Section[PrivilegeFact], flow_names: dict[str, str]) -> Logic:
        depths = {row.name: row.depth for row in privileges.rows}
        return Logic(
            self._section(self._steps),
            _reaching(self._section(self._processes), depths, "prvReadWorkflow"),
            _reaching(self._section(lambda: self._flows(flow_names)), depths, "prvReadCallbackRegistration"),
        )

    def _rest(
        self, user: UUID, privileges: Section[PrivilegeFact], settings: Row | None, *, volumes: bool
    ) -> dict[str, Section[Any]]:
        """Return the sections that are read each time."""
        depths = {row.name: row.depth for row in privileges.rows}
        logic = self._logic(privileges, self._tried(self._flow_names) or {})
        return {
            "privileges": privileges,
            "column_access": self._section(lambda: self._column_access(user)),
            "settings": self._section(lambda: self._settings(settings)),
            "currencies": self._section(lambda: self._currencies(settings)),
            "messages": self._section(self._messages),
            "steps": logic.steps,
            "times": self._section(self._times),
            "processes": logic.processes,
            "flows": logic.flows,
            "volumes": self._counted(depths)
            if volumes
            else Section(read=Coverage.NOT_ASKED, why="Capture with --volumes."),
        }

    def _definitions(self) -> dict[str, Section[Any]]:
        try:
            return read_definitions(self._api)
        except ServiceError as error:
            return dict.fromkeys(DEFINITIONS, Section(read=Coverage.REFUSED, why=_refused(error)))

    def _section(self, read: Callable[[], Section[T]]) -> Section[T]:  # type: ignore[type-var]
        """Return what `read` returns, or a section that says why it was refused."""
        try:
            return read()
        except ServiceError as error:
            return Section(read=Coverage.REFUSED, why=_refused(error))

    def _tried(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except ServiceError as error:
            _refused(error)
            return None

    def _rows(self, path: str) -> list[Row]:
        return self._api.read_rows(Operation("GET", path), _SUBJECT)

    # --- the sections ---

    def _privileges(self, user: UUID) -> Section[PrivilegeFact]:
        held = self._diagnosis.held_privileges(user, _PRIVILEGES)
        return sorted_section([PrivilegeFact(name=name, depth=depth) for name, depth in held.items()])

    def _column_access(self, user: UUID) -> Section[ColumnAccessFact]:
        rules = table_rules(self._api.send(TABLE_RULES), _SUBJECT)
        if rules is None:
            return Section(read=Coverage.REFUSED, why="Which columns are secured could not be read.")
        if not rules.secured:
            return sorted_section([])
        answer = self._api.read_object(access_questions([user], rules)[-1], _SUBJECT)
        with decoding(_SUBJECT):
            return sorted_section(list(access_facts(rules.secured, rows_of(answer, _SUBJECT, "AttributePrivileges"))))

    def _settings_row(self) -> Row:
        return next(iter(self._rows(f"organizations?$select={_SETTINGS_ROW}")), {})

    def _settings(self, row: Row | None) -> Section[SettingFact]:
        if row is None:
            return Section(read=Coverage.REFUSED, why="The organization's settings could not be read.")
        return sorted_section([SettingFact(name=name, value=row.get(name)) for name in _SETTINGS])

    def _currencies(self, settings: Row | None) -> Section[CurrencyFact]:
        rows = self._rows("transactioncurrencies?$select=isocurrencycode,currencyprecision&$filter=statecode%20eq%200")
        base = (settings or {}).get("_basecurrencyid_value")
        with decoding(_SUBJECT):
            facts = [fact_of(CurrencyFact, row, base=row["transactioncurrencyid"] == base) for row in rows]
            return sorted_section(facts)

    def _messages(self) -> Section[MessageFact]:
        facts = [MessageFact(name=row["name"]) for row in self._rows(named_messages(ACTIONS).path)]
        for table, names_filter in zip(SLICE, table_filter("primaryobjecttypecode"), strict=True):
            rows = self._rows(
                f"sdkmessagefilters?$select=sdkmessagefilterid&$filter={names_filter}&$expand=sdkmessageid($select=name)"
            )
            with decoding(_SUBJECT):
                facts += [MessageFact(table=table, name=row["sdkmessageid"]["name"]) for row in rows]
        return sorted_section(facts)

    def _steps(self) -> Section[StepFact]:
        events = "%20or%20".join(f"sdkmessageid/name%20eq%20'{event}'" for event in EVENTS)
        rows = self._rows(
            "sdkmessageprocessingsteps?$select=name,stage,mode,rank,filteringattributes,canbebypassed,ismanaged"
            f"&$filter=statecode%20eq%200%20and%20({events})&$expand=sdkmessageid($select=name),"
            "sdkmessagefilterid($select=primaryobjecttypecode),plugintypeid($select=typename)"
        )
        with decoding(_SUBJECT):
            return sorted_section([fact for row in rows if (fact := step_fact(row)).table in ("", *SLICE)])

    def _times(self) -> Section[TimeFact]:
        rows = self._rows(
            "plugintypestatistics?$select=averageexecutetimeinmilliseconds,executecount,failurepercent"
            "&$expand=plugintypeid($select=typename)"
        )
        with decoding(_SUBJECT):
            return sorted_section([fact_of(TimeFact, row) for row in rows if row.get("plugintypeid")])

    def _processes(self) -> Section[ProcessFact]:
        tables = "%20or%20".join(table_filter("primaryentity"))
        rows = self._rows(
            "workflows?$select=name,uniquename,category,mode,primaryentity,triggeroncreate,triggerondelete,"
            "triggeronupdateattributelist,ismanaged&$filter=type%20eq%201%20and%20statecode%20eq%201"
            f"%20and%20(category%20eq%200%20or%20category%20eq%203)%20and%20({tables})"
        )
        with decoding(_SUBJECT):
            return sorted_section([process_fact(row) for row in rows])

    def _flow_names(self) -> dict[str, str]:
        rows = self._rows("workflows?$select=name&$filter=category%20eq%205%20and%20type%20eq%201")
        return {str(row["workflowid"]): str(row["name"]) for row in rows}

    def _flows(self, names: dict[str, str]) -> Section[FlowFact]:
        rows = self._rows(
            "callbackregistrations?$select=name,entityname,message,sdkmessagename,scope,filteringattributes,"
            "filterexpression,runas&$filter=softdeletestatus%20eq%200"
        )
        with decoding(_SUBJECT):
            facts = (flow_fact(row, names) for row in rows)
            return sorted_section([fact for fact in facts if fact.table in SLICE or fact.action])

    def _counted(self, depths: dict[str, str]) -> Section[VolumeFact]:
        section = _reaching(self._section(self._volumes), depths, "prvReadOpportunity")
        return _reaching(section, depths, "prvReadQuote")

    def _volumes(self) -> Section[VolumeFact]:
        states = {row["opportunityid"]: row["statecode"] for row in self._all("opportunities?$select=statecode")}
        quotes: Counter[tuple[str, int]] = Counter()
        for row in self._all("quotes?$select=statecode,_opportunityid_value"):
            quotes[row["_opportunityid_value"], min(row["statecode"], 2)] += 1
        groups = Counter((state, *(min(quotes[key, kind], 9) for kind in (0, 1, 2))) for key, state in states.items())
        return sorted_section(
            [
                VolumeFact(state=state, drafts=drafts, actives=actives, closed=closed, rows=rows)
                for (state, drafts, actives, closed), rows in groups.items()
            ]
        )

    def _all(self, path: str) -> Iterator[Row]:
        page = self._api.read_object(Operation("GET", path), _SUBJECT)
        yield from rows_of(page, _SUBJECT)
        following = self._api.pages(page.get("@odata.nextLink"), _SUBJECT)
        for more in islice(following, MOST_PAGES - 1):
            yield from rows_of(more, _SUBJECT)


def caller_mark(user: UUID) -> str:
    """Return a mark that tells a user from others and names nobody."""
    return hashlib.sha256(f"caller:{user}".encode()).hexdigest()[:16]


def read_metadata_stamp(api: WebApi) -> str:
    """Return what moves whenever the organization's metadata does; empty where the organization does not tell."""
    try:
        data = api.read_object(Operation("GET", "RetrieveTimestamp()"), "Reading the metadata timestamp")
    except ServiceError as error:
        _refused(error)
        return ""
    return str(data.get("Timestamp") or "")


def _refused(error: ServiceError) -> str:
    """Return why a section could not be read; raises what is no refusal of it: limits, trouble, a lost sign-in."""
    trouble = error.effect is not Effect.NONE or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if trouble or isinstance(error, Throttled | Unauthorized):
        raise error
    privilege = next((word.strip(" ,.'") for word in error.detail.split() if word.startswith("prv")), "")
    return f"{error.message}{f' Missing: {privilege}.' if privilege not in error.message else ''}"


def _reaching(section: Section[T], depths: dict[str, str], privilege: str) -> Section[T]:  # type: ignore[type-var]
    """Return a section of rows that belong to users as `own` where the caller's privilege reaches its own only."""
    depth = depths.get(privilege)
    if section.read is not Coverage.ALL or depth == "Global":
        return section
    why = f"The caller's {privilege} reaches {depth} rows only." if depth else f"The depth of {privilege} is not known."
    return section.model_copy(update={"read": Coverage.OWN, "why": why})
