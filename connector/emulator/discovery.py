"""Global discovery: which organizations a user has, as `/api/discovery/v2.0/Instances` answers it.

Source: powerapps-docs, discover-url-organization-web-api; the fields are those of Microsoft's own client
(GlobalDiscoveryModel). Here there is one organization; a user it does not know gets an empty list, not an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from connector.clock import Clock
from connector.emulator.api.api import ApiOptions
from connector.emulator.api.operation import ok
from connector.emulator.api.plans import read_query
from connector.emulator.http.exchange import split_url
from connector.emulator.identity.bearer import Bearer, Unauthorized
from connector.emulator.odata.expressions import Query, holds, no_such_property
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.path import Segment, options, segments, text_of
from connector.emulator.rules.rule import Refused, refuse
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.open_organization import Organization
from connector.handler import Request, Response

PREFIX = "/api/discovery/v2.0/"
_KIND = "Instance"


class Discovery:
    """Answers global discovery for one organization."""

    def __init__(self, bearer: Bearer, organization: Organization, options: EmulatorOptions, clock: Clock) -> None:
        self._bearer = bearer
        self._organization = organization
        self._options = options
        self._clock = clock

    def answer(self, request: Request) -> Response:
        """Return the answer to a request below `PREFIX`."""
        try:
            return self._answer(request)
        except Unauthorized:
            return self._bearer.discovery_challenge()
        except ODataError as error:
            refused = refuse("query.not_understood", error)
        except Refused as error:
            refused = error
        return ok({"error": {"code": refused.code, "message": refused.message}}, status=refused.status)

    def _answer(self, request: Request) -> Response:
        origin, path, query = split_url(request.url)
        identity = self._bearer.identify(request)
        try:
            self._bearer.caller(request, identity)
            instances = [self._instance()]
        except Refused:  # who is no user of it
            instances = []
        steps = segments(path.removeprefix(PREFIX))
        if len(steps) != 1 or steps[0].name != "Instances":
            raise refuse("path.unknown", unquote(path).rstrip("/").rpartition("/")[2])
        if request.method != "GET":
            raise refuse("path.wrong_verb", request.url)
        asked_query = read_query(options(query), ("$select", "$filter"))
        context = f"{origin}{PREFIX}$metadata#Instances"
        if steps[0].called:
            return ok({"@odata.context": f"{context}/$entity", **_shaped(self._one(steps[0], instances), asked_query)})
        matching = [
            instance
            for instance in instances
            if asked_query.filter is None or holds(asked_query.filter, instance, _KIND)
        ]
        return ok({"@odata.context": context, "value": [_shaped(instance, asked_query) for instance in matching]})

    @staticmethod
    def _one(segment: Segment, instances: list[Mapping[str, Any]]) -> Mapping[str, Any]:
        by = segment.pairs[0] if len(segment.pairs) == 1 else ("", "")
        if segment.key is None and by[0] != "UniqueName":
            raise ODataError("An instance is named by its Id or its UniqueName.")
        for instance in instances:
            if instance["Id"] == segment.key or (segment.key is None and instance["UniqueName"] == text_of(by[1])):
                return instance
        raise refuse("path.unknown", segment.name)

    def _instance(self) -> Mapping[str, Any]:
        store = self._organization.store
        key, name = store.rows("SELECT organizationid, name FROM organization")[0]
        short, url = str(name).lower().replace(" ", ""), self._options.url
        parts = urlsplit(url)
        first, dot, rest = parts.netloc.partition(".")  # the loopback interface has no address with `.api.` in it
        return {
            "Id": key,
            "UniqueName": short,
            "UrlName": short,
            "FriendlyName": name,
            "State": 0,
            "Version": ApiOptions().version,
            "Url": url,
            "ApiUrl": f"{parts.scheme}://{first}.api.{rest}" if dot and not first.isdigit() else url,
            "LastUpdated": self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Region": "NA",
            "OrganizationType": 0,
            "TenantId": self._options.tenant.tenant_id,
            "EnvironmentId": key,
            "StatusMessage": 0,
            "TrialExpirationDate": None,
            "Purpose": None,
            "SchemaType": "Full",
        }


def _shaped(instance: Mapping[str, Any], query: Query) -> Mapping[str, Any]:
    chosen = query.select or tuple(instance)
    for name in chosen:
        if name not in instance:
            raise no_such_property(name, _KIND)
    return {name: instance[name] for name in chosen}
