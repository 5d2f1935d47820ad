"""Where to sign in for an organization: what it announces in its 401 challenge, if that may be believed."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import UUID

from connector.dataverse.error_bodies import sender_of
from connector.dataverse.sign_in.challenge import parse_challenge
from connector.dataverse.sign_in.clouds import cloud_of, is_sign_in_host, origin_of
from connector.errors import SignInError, TransportError
from connector.handler import Handler, Request

_ANY_TENANT = ("common", "organizations", "consumers")


def discover(handler: Handler, base_url: str, tenant_id: str = "") -> str:
    """Return the authority (`https://host/tenant`) of the organization at `base_url`, asked without a token.

    `tenant_id` is what the settings say; it takes the place of a tenant that is none in particular, and must agree with
    one that is. Raises SignInError when there is no usable challenge, or one that may not be believed.
    """
    try:
        response = handler(Request("GET", f"{base_url}/api/data/v9.2/", {"accept": "application/json"}))
    except TransportError as error:
        said = f"The organization could not be asked where to sign in. {error.message}"
        raise SignInError(said, remedy=error.remedy, transient=error.transient) from error
    challenge = parse_challenge(response)
    if not challenge.authority:
        busy = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS
        sender = sender_of(response)
        raise SignInError(
            f"{base_url} does not say where to sign in (status {response.status}): it is no Dataverse organization, or "
            f"something stands before it{f' ({sender})' if sender else ''}.",
            remedy="Check DATAVERSE_URL; the address of an organization is in the Power Platform admin center.",
            transient=busy,
        )
    if problem := distrust(base_url, challenge.authority):
        raise SignInError(problem, remedy="Check DATAVERSE_URL; nothing secret was sent.")
    return _with_tenant(challenge.authority, challenge.tenant.lower(), tenant_id.lower())


def distrust(base_url: str, authority: str) -> str:
    """Return why credentials for the organization at `base_url` must not go to `authority`, or an empty text.

    An organization of a cloud signs in at that cloud's service. Any other host stands for an emulator, which signs in
    at its own origin and nowhere else.
    """
    host, where = urlsplit(base_url).hostname or "", urlsplit(authority).hostname or ""
    cloud = cloud_of(host)
    if not origin_of(authority).startswith("https://"):
        return f"The sign-in address {authority} is not https."
    if cloud is not None:
        if where in cloud.sign_in and origin_of(authority) == f"https://{where}:443":
            return ""
        return f"{where} is not the sign-in service of the {cloud.name} cloud, to which {host} belongs."
    if is_sign_in_host(where) or origin_of(authority) != origin_of(base_url):
        return f"{host} is no organization of a known cloud, so {where} must not be asked to sign in for it."
    return ""


def _with_tenant(authority: str, announced: str, wanted: str) -> str:
    place = authority.rpartition("/")[0]
    if announced in _ANY_TENANT:
        if wanted:
            return f"{place}/{wanted}"
        raise SignInError("The organization does not name its tenant.", remedy="Set DATAVERSE_TENANT_ID.")
    if wanted and wanted != announced and _is_id(wanted) and _is_id(announced):
        raise SignInError(
            f"The organization belongs to tenant {announced}, but DATAVERSE_TENANT_ID is {wanted}.",
            remedy="Correct DATAVERSE_TENANT_ID, or leave it out; or DATAVERSE_URL is another organization's.",
        )
    return authority


def _is_id(tenant: str) -> bool:
    try:
        UUID(tenant)
    except ValueError:
        return False
    return True
