"""Rows of plug-in steps, processes and flow registrations as facts: what they do and when, nothing of their insides."""

from __future__ import annotations

from typing import Literal

from connector.dataverse.reading import Row
from connector.organization.capture_model import FlowFact, ProcessFact, StepFact

_MICROSOFT = ("Microsoft.", "MicrosoftDynamics", "Msdyn", "CrmPlugin")


def _listed(names: object) -> tuple[str, ...]:
    return tuple(sorted(name.strip() for name in str(names or "").split(",") if name.strip()))


def step_fact(row: Row) -> StepFact:
    """Return a plug-in step with its message, table and plug-in type."""
    plug_in = str((row.get("plugintypeid") or {}).get("typename") or "")
    managed = bool(row["ismanaged"])
    vendor: Literal["microsoft", "managed"] = "microsoft" if plug_in.startswith(_MICROSOFT) else "managed"
    return StepFact(
        id=row["sdkmessageprocessingstepid"],
        name=row["name"] or "",
        message=row["sdkmessageid"]["name"],
        table=str((row.get("sdkmessagefilterid") or {}).get("primaryobjecttypecode") or "").replace("none", ""),
        plug_in=plug_in,
        origin=vendor if managed else "own",
        asynchronous=row["mode"] == 1,
        stage=row["stage"],
        rank=row["rank"] or 1,
        columns=_listed(row["filteringattributes"]),
        bypassable=row["canbebypassed"] is not False,
    )


def process_fact(row: Row) -> ProcessFact:
    """Return a classic workflow or an action."""
    return ProcessFact(
        id=row["workflowid"],
        name=row["name"] or "",
        kind="action" if row["category"] == 3 else "workflow",
        table=row["primaryentity"],
        unique_name=row["uniquename"] or "",
        real_time=row["mode"] == 1,
        on_create=bool(row["triggeroncreate"]),
        on_delete=bool(row["triggerondelete"]),
        columns=_listed(row["triggeronupdateattributelist"]),
        managed=bool(row["ismanaged"]),
    )


def flow_fact(row: Row, names: dict[str, str]) -> FlowFact:
    """Return a flow's registration; `names` has the names of flows by their ids."""
    name = str(row["name"] or "")
    return FlowFact(
        id=row["callbackregistrationid"],
        name=names.get(name.rpartition(" ")[2], name),
        table=row["entityname"] or "",
        message=row["message"],
        action=row["sdkmessagename"] or "",
        scope=row["scope"] or 4,
        run_as=row["runas"],
        columns=_listed(row["filteringattributes"]),
        filter=row["filterexpression"] or "",
    )
