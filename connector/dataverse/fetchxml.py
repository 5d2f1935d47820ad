"""A query in FetchXML, read page by page with the paging cookie.

Sources: learn.microsoft.com/power-apps/developer/data-platform/fetchxml/retrieve-data (Web API: `fetchXml`) and
.../fetchxml/page-results (the cookie comes encoded twice inside an element of its own, and goes into `paging-cookie`).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

from connector.dataverse.answers import json_object, unreadable
from connector.dataverse.reading import read_object, read_several, rows_of
from connector.dataverse.webapi import Endpoint, Operation
from connector.errors import InputError
from connector.handler import Handler

_ANNOTATIONS = 'odata.include-annotations="Microsoft.PowerApps.CDS.*,Microsoft.Dynamics.CRM.*"'
_MORE, _COOKIE = "@Microsoft.Dynamics.CRM.morerecords", "@Microsoft.Dynamics.CRM.fetchxmlpagingcookie"
_LONGEST = 30_000
"""Characters of an address; a longer query goes inside a batch."""
_EXAMPLE = 'Write one query, as <fetch><entity name="opportunity"><filter>...</filter></entity></fetch>.'


def fetch_pages(handler: Handler, endpoint: Endpoint, text: str, subject: str) -> Iterator[dict[str, Any]]:
    """Yield the pages that a query finds, each opportunity with its id; raises InputError for what is no such query."""
    fetch = _query(text)
    endpoint = replace(endpoint, annotations=_ANNOTATIONS)
    number = int(fetch.get("page", "1")) if fetch.get("page", "1").isdecimal() else 1
    while True:
        operation = Operation("GET", f"opportunities?fetchXml={quote(ET.tostring(fetch, encoding='unicode'), safe='')}")
        if len(operation.path) > _LONGEST:
            (answer,) = read_several(handler, endpoint, [operation], subject)
            page = json_object(answer, subject)
        else:
            page = read_object(handler, endpoint, operation, subject)
        yield page
        if page.get(_MORE) is not True or "top" in fetch.attrib:
            return
        if not rows_of(page, subject):
            unreadable(subject)
        number += 1
        fetch.set("page", str(number))
        if cookie := _cookie(page.get(_COOKIE)):
            fetch.set("paging-cookie", cookie)


def _query(text: str) -> ET.Element:
    """Return a query about opportunities that asks for nothing but their ids; raises InputError."""
    try:
        fetch = ET.fromstring(text)  # noqa: S314 - a file of the user's own, and expat bounds what entities expand to
    except ET.ParseError as error:
        raise InputError(f"The FetchXML cannot be read: {error}.", remedy=_EXAMPLE) from None
    entities = fetch.findall("entity")
    names = [entity.get("name", "") for entity in entities]
    if fetch.tag != "fetch" or names != ["opportunity"]:
        what = f"is about {', '.join(names)}" if fetch.tag == "fetch" and names else "is no query of a table"
        raise InputError(f"The FetchXML {what}, and must be one about opportunities.", remedy=_EXAMPLE)
    if fetch.get("aggregate") in ("true", "1"):
        raise InputError("The FetchXML counts or sums, and finds no opportunities.", remedy=_EXAMPLE)
    for node in [node for node in entities[0] if node.tag in ("attribute", "all-attributes")]:
        entities[0].remove(node)
    entities[0].insert(0, ET.Element("attribute", {"name": "opportunityid"}))
    return fetch


def _cookie(told: object) -> str:
    """Return the cookie inside the element that an answer has; empty where there is none."""
    try:
        element = ET.fromstring(told) if isinstance(told, str) else None  # noqa: S314 - the organization's answer
    except ET.ParseError:
        element = None
    return "" if element is None else unquote(unquote(element.get("pagingcookie", "")))
