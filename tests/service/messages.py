"""Messages of Dataverse's webhooks, in the shape of `RemoteExecutionContext` as the documents show it."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

KEY = "a-webhook-key-of-some-length"
KEYS = {hashlib.sha256(KEY.encode()).hexdigest(): "11111111-1111-1111-1111-111111111111"}
CONTRACTS = "http://schemas.microsoft.com/xrm/2011/Contracts"


def win_message(opportunity: UUID, message: str = "Win") -> dict[str, Any]:
    """Return what is sent after an opportunity was won (or lost).

    Shape: *Use webhooks to create external handlers* and *Work with event data* (Power Apps developer guide).
    """
    reference: dict[str, Any] = {
        "__type": f"EntityReference:{CONTRACTS}",
        "Id": str(opportunity),
        "KeyAttributes": [],
        "LogicalName": "opportunity",
        "Name": None,
        "RowVersion": None,
    }
    close = {
        "__type": f"Entity:{CONTRACTS}",
        "Attributes": [
            {"key": "subject", "value": "Won"},
            {"key": "actualrevenue", "value": {"__type": f"Money:{CONTRACTS}", "Value": 100}},
            {"key": "opportunityid", "value": reference},
        ],
        "EntityState": None,
        "FormattedValues": [],
        "Id": "00000000-0000-0000-0000-000000000000",
        "KeyAttributes": [],
        "LogicalName": "opportunityclose",
        "RelatedEntities": [],
        "RowVersion": None,
    }
    status = {"__type": f"OptionSetValue:{CONTRACTS}", "Value": 3}
    return {
        "BusinessUnitId": "5b4e1f3a-0000-4000-8000-000000000001",
        "CorrelationId": "5b4e1f3a-0000-4000-8000-000000000002",
        "Depth": 1,
        "InitiatingUserId": "5b4e1f3a-0000-4000-8000-000000000003",
        "InputParameters": [{"key": "OpportunityClose", "value": close}, {"key": "Status", "value": status}],
        "IsExecutingOffline": False,
        "MessageName": message,
        "Mode": 1,
        "OperationCreatedOn": "/Date(1769850000000+0000)/",
        "OperationId": "5b4e1f3a-0000-4000-8000-000000000004",
        "OrganizationId": "5b4e1f3a-0000-4000-8000-000000000005",
        "OrganizationName": "contoso",
        "OutputParameters": [],
        "PostEntityImages": [],
        "PreEntityImages": [],
        "PrimaryEntityId": "00000000-0000-0000-0000-000000000000",
        "PrimaryEntityName": "opportunity",
        "RequestId": "5b4e1f3a-0000-4000-8000-000000000006",
        "SecondaryEntityName": "none",
        "SharedVariables": [],
        "Stage": 40,
        "UserId": "5b4e1f3a-0000-4000-8000-000000000003",
    }
