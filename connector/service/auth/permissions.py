"""Who may act as whom, and who may see what: tenants are apart, and within one an operator sees everybody's."""

from __future__ import annotations

from connector.ledger.jobs import Job
from connector.ledger.operation_store import StoredOperation
from connector.service.auth.caller import Caller, CallerKind
from connector.service.service_options import Access, Admission


def acts_as_user(caller: Caller, access: Access) -> bool:
    """Return whether the organization is used with the caller's own rights."""
    return caller.kind is CallerKind.USER and access is not Access.APPLICATION


def may_see(caller: Caller, operation: StoredOperation) -> bool:
    """Return whether the operation is the caller's own, or one of the caller's tenant where the caller operates it."""
    return operation.owner == caller.owner or (caller.operator and operation.tenant == caller.tenant_id)


def may_see_job(caller: Caller, job: Job, admission: Admission) -> bool:
    """Return whether a bulk job is one of the organization of the tenant that the caller operates.

    A job that names no organization is shown where there is one tenant only.
    """
    if not caller.operator or caller.kind is CallerKind.DEVELOPER:
        return caller.operator
    if not job.organization:
        return len(admission.tenants) == 1
    return admission.tenants.get(caller.tenant_id, "") == job.organization
