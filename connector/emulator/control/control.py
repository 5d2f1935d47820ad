"""The control interface under /_emulator/: everything a test or a person may ask of the emulator, as HTTP and Python.

GET    health                    is it up, since when, how much is in it
GET    ca.pem                    the certificate authority to trust
GET    rules                     every rule with its evidence
GET    journal?after=N&limit=N   requests, oldest first     DELETE forgets them
GET    har?after=N&limit=N       the same as an archive that browsers and HTTP viewers open (HAR 1.2)
GET    closes?more_than=N        committed close activities per record (more_than=1 finds what closed twice)
GET    referee                   what the client does that it should not
GET    switches                  PATCH {"name": "value"} changes some
GET    limits                    PATCH {"requests": 100} changes some
GET    faults                    PUT a plan, DELETE takes it away
POST   reset                     rows as at the start, everything counted forgotten
PUT    snapshots/NAME            POST snapshots/NAME/restore
POST   seed                      {"opportunities": 1000, "seed": 1}, {"opportunity": [rows], "quote": [rows]}, or CSV
GET    users                     PATCH {"user": "<id>", "role": "Sales Reader"} or {"user": "<id>", "disabled": true}
GET    scenarios                 POST {"name": "west-of-utc"} throws everything away and begins with one
POST   customizations?table=T    columns, keys, reasons of the organization's own, or metadata exported from one
GET    clock                     POST {"advance": seconds}
POST   revoke                    every token issued so far meets a claims challenge
POST   device                    {"user_code": "..."} confirms a device
GET    (nothing)                 a page for people
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from connector.emulator.control.journal import har_data
from connector.emulator.control.page import ControlledEmulator
from connector.emulator.control.users import change_user, users_of
from connector.emulator.http.exchange import html_response, json_response, query_fields, split_url, text_response
from connector.emulator.http.tls import ExtraMissing
from connector.emulator.limits.faults import FaultPlan, Faults, plan_of, read_plan
from connector.emulator.rules.rule import rules_data
from connector.emulator.seeding.emulator_options import SCENARIOS
from connector.emulator.seeding.open_organization import seed_csv, seed_json
from connector.emulator.world.store import StoreError
from connector.emulator.world.world import WorldSnapshot
from connector.handler import Request, Response

Json = Mapping[str, Any]
EVERYTHING = 10**9
"""More entries than a journal keeps."""
END_OF_TIME = datetime(9000, 1, 1, tzinfo=UTC)
"""As far as the emulator can travel: what it issues must end before the calendar of the language does."""
LARGEST_LIMIT = 10**12
"""No limit is as large: it is a typing error, or infinite."""


class InvalidControlRequest(ValueError):
    """A control request that makes no sense; the message says why."""


class Control:
    """What can be asked of one emulator. Every method is also a route (see the module's text)."""

    def __init__(self, emulator: ControlledEmulator) -> None:
        self._emulator = emulator
        self._snapshots: dict[str, WorldSnapshot] = {}
        self._routes: Mapping[tuple[str, str], Callable[[Request, Mapping[str, str]], object]] = {
            ("GET", "health"): lambda _request, _query: self.health(),
            ("GET", "rules"): lambda _request, _query: rules_data(),
            ("GET", "journal"): lambda _request, query: self.journal(**_window(query, 200)),
            ("GET", "har"): lambda _request, query: har_data(
                self._emulator.journal.entries(**_window(query, EVERYTHING))
            ),
            ("DELETE", "journal"): lambda _request, _query: self.forget_journal(),
            ("GET", "closes"): lambda _request, query: self.closes(more_than=int(query.get("more_than", 0))),
            ("GET", "referee"): lambda _request, _query: self._emulator.referee.report(),
            ("GET", "switches"): lambda _request, _query: self.switches(),
            ("PATCH", "switches"): lambda request, _query: self.set_switches(_object(request)),
            ("GET", "limits"): lambda _request, _query: self.limits(),
            ("PATCH", "limits"): lambda request, _query: self.set_limits(_object(request)),
            ("GET", "faults"): lambda _request, _query: self.faults(),
            ("PUT", "faults"): lambda request, _query: self.set_faults(read_plan(request.body)),
            ("DELETE", "faults"): lambda _request, _query: self.set_faults(FaultPlan()),
            ("POST", "reset"): lambda _request, _query: self.reset(),
            ("POST", "seed"): self._seed,
            ("GET", "users"): lambda _request, _query: users_of(self._emulator.organization.world),
            ("PATCH", "users"): lambda request, _query: change_user(
                self._emulator.organization.world, _object(request)
            ),
            ("GET", "scenarios"): lambda _request, _query: {
                name: scenario.text for name, scenario in SCENARIOS.items()
            },
            ("POST", "scenarios"): lambda request, _query: self.start(str(_object(request).get("name", ""))),
            ("POST", "customizations"): lambda request, query: self.customize(_object(request), query.get("table", "")),
            ("GET", "clock"): lambda _request, _query: self.clock(),
            ("POST", "clock"): lambda request, _query: self.advance(float(_object(request).get("advance", 0))),
            ("POST", "revoke"): lambda _request, _query: self.revoke(),
            ("POST", "device"): lambda request, _query: self.device(str(_object(request).get("user_code", ""))),
        }

    def handle(self, request: Request) -> Response:
        """Answer one request under /_emulator/; mistakes are answered 400 with a sentence."""
        _, path, query = split_url(request.url)
        name = unquote(path.removeprefix("/_emulator").strip("/"))
        if request.method == "GET" and name in ("", "ca.pem"):
            return self._page(query_fields(query)) if not name else self._authority()
        try:
            if name.startswith("snapshots/"):
                return json_response(HTTPStatus.OK, self._snapshot(request.method, name.removeprefix("snapshots/")))
            route = self._routes.get((request.method, name))
            if route is None:
                routes = ", ".join(sorted(f"{verb} {route_name}" for verb, route_name in self._routes))
                sentence = f"There is no {request.method} {name}. There are: {routes}."
                return json_response(HTTPStatus.NOT_FOUND, {"error": sentence})
            return json_response(HTTPStatus.OK, route(request, query_fields(query)))
        except (ValueError, TypeError, OverflowError, csv.Error) as error:
            return json_response(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except (sqlite3.Error, StoreError) as error:
            return json_response(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"The database could not do it: {error}."})

    # Looking.

    def health(self) -> Json:
        """Return what is being served; holds no secret."""
        emulator = self._emulator
        return {
            "status": "ok",
            "url": emulator.options.url,
            "authority": f"{emulator.options.login_url}/{emulator.options.tenant.tenant_id}",
            "tenant_id": emulator.options.tenant.tenant_id,
            "client_ids": [application.client_id for application in emulator.options.tenant.applications],
            "time": emulator.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "requests": emulator.journal.number,
            "statuses": {str(status): count for status, count in sorted(emulator.journal.statuses.items())},
            "rows": emulator.organization.row_counts(),
            "entitlement": dict(emulator.protection.entitlement),
            "flow_runs": dict(emulator.organization.world.logic.runs),
        }

    def journal(self, *, after: int = 0, limit: int = 200) -> list[Json]:
        """Return journal entries numbered above `after`, oldest first."""
        return [entry.data() for entry in self._emulator.journal.entries(after=after, limit=limit)]

    def closes(self, *, more_than: int = 0) -> list[Json]:
        """Return the number of close activities that stand, per opportunity and quote with more than `more_than`."""
        return self._emulator.organization.closes(more_than)

    def switches(self) -> list[Json]:
        """Return every switch with its value, its choices and its evidence."""
        return [asdict(switch) for switch in self._emulator.organization.world.switches.describe()]

    def limits(self) -> Json:
        """Return the service protection limits."""
        return asdict(self._emulator.protection.limits)

    def faults(self) -> Json:
        """Return the fault plan and how often each fault has acted."""
        return {**self._emulator.faults.plan.data(), "acted": list(self._emulator.faults.acted)}

    def clock(self) -> Json:
        """Return the emulator's time."""
        clock = self._emulator.clock
        return {"now": clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "virtual": clock.virtual}

    # Changing.

    def forget_journal(self) -> Json:
        """Empty the journal and the referee's notes."""
        self._emulator.journal.clear()
        self._emulator.referee.clear()
        return {}

    def set_switches(self, values: Json) -> list[Json]:
        """Set switches by name; raises ValueError for an unknown name or value."""
        organization = self._emulator.organization
        organization.world.use(organization.world.switches.with_values(values))
        return self.switches()

    def set_limits(self, values: Json) -> Json:
        """Set limits by name; raises InvalidControlRequest for an unknown name or a value of the wrong kind."""
        limits = asdict(self._emulator.protection.limits)
        for name, value in values.items():
            if name not in limits:
                raise InvalidControlRequest(f"There is no limit {name!r}; there are: {', '.join(limits)}.")
            if not _alike(limits[name], value):
                now, new = json.dumps(limits[name]), json.dumps(value)
                raise InvalidControlRequest(f"The limit {name} is {now}; {new} is no value for it.")
        ranges = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        self._emulator.protection.change(ranges)
        return self.limits()

    def set_faults(self, plan: FaultPlan | Json | list[Json]) -> Json:
        """Put a fault plan to work, its counters at zero; raises InvalidFaultPlan."""
        self._emulator.set_faults(Faults(plan if isinstance(plan, FaultPlan) else plan_of(plan)))
        return self.faults()

    def reset(self) -> Json:
        """Put the rows back as they were at the start and forget everything counted; faults begin anew."""
        self._emulator.reset()
        return self.health()

    def snapshot(self, name: str) -> Json:
        """Keep a copy of all rows, customizations and switches under `name`."""
        self._snapshots[name] = self._emulator.organization.world.snapshot()
        return {"snapshots": sorted(self._snapshots)}

    def restore(self, name: str) -> Json:
        """Put back what was kept under `name`; raises InvalidControlRequest when there are none."""
        copy = self._snapshots.get(name)
        if copy is None:
            names = ", ".join(sorted(self._snapshots)) or "none"
            raise InvalidControlRequest(f"There is no snapshot {name!r}; there are: {names}.")
        self._emulator.organization.world.restore(copy)
        return {"restored": name}

    def seed(self, opportunities: int, seed: int = 1) -> Json:
        """Add generated opportunities with quotes, in a realistic mix."""
        self._emulator.organization.generate(opportunities, seed)
        return {"rows": self._emulator.organization.row_counts()}

    def load(self, document: Json) -> Json:
        """Add rows from `{table: [row, ...]}` as they stand (see files); raises SeedRefused."""
        organization = self._emulator.organization
        seed_json(organization.world, document)
        return {"rows": organization.row_counts()}

    def start(self, name: str) -> Json:
        """Throw everything away and begin with a scenario; raises ValueError for an unknown name."""
        self._emulator.organization.start(name)
        self._emulator.reset()
        return self.health()

    def customize(self, document: Json, table: str = "") -> Json:
        """Take status reasons and required columns from exported metadata; raises ImportRefused."""
        organization = self._emulator.organization
        organization.customize(document, table)
        return asdict(organization.world.customization)

    def advance(self, seconds: float) -> Json:
        """Let `seconds` pass at once; raises InvalidControlRequest for time that cannot pass."""
        left = (END_OF_TIME - self._emulator.clock.now()).total_seconds()
        if not 0 <= seconds <= left:
            raise InvalidControlRequest(
                f"Time goes forward, and no further than {END_OF_TIME:%Y}: {seconds} seconds cannot pass."
            )
        self._emulator.clock.advance(seconds)
        return self.clock()

    def revoke(self) -> Json:
        """Challenge every token issued so far for new claims."""
        self._emulator.bearer.revoke()
        return {}

    def device(self, user_code: str) -> Json:
        """Confirm the device that shows `user_code`; raises InvalidControlRequest for an unknown code."""
        if not self._emulator.grants.approve_device(user_code):
            raise InvalidControlRequest(f"No device shows the code {user_code!r}.")
        return {}

    # Routes that are more than a call.

    def _snapshot(self, method: str, name: str) -> Json:
        if method == "PUT" and "/" not in name:
            return self.snapshot(name)
        if method == "POST" and name.endswith("/restore"):
            return self.restore(name.removesuffix("/restore"))
        raise InvalidControlRequest("PUT snapshots/NAME keeps one, POST snapshots/NAME/restore puts it back.")

    def _seed(self, request: Request, query: Mapping[str, str]) -> Json:
        if (request.header("content-type") or "").partition(";")[0] == "text/csv":
            text = request.body.decode("utf-8-sig")
            seed_csv(self._emulator.organization.world, query.get("table", "opportunity"), io.StringIO(text))
            return {"rows": self._emulator.organization.row_counts()}
        data = _object(request)
        if "opportunities" in data and not isinstance(data["opportunities"], list):
            return self.seed(int(data["opportunities"]), int(data.get("seed", 1)))
        return self.load(data)

    def _authority(self) -> Response:
        path = self._emulator.authority_file
        if path is None:
            return json_response(
                HTTPStatus.NOT_FOUND, {"error": "This emulator runs in a process and has no certificate."}
            )
        return text_response(HTTPStatus.OK, path.read_text(encoding="ascii"), "application/x-pem-file")

    def _page(self, query: Mapping[str, str]) -> Response:
        from connector.emulator.control.page import render

        try:
            page = render(self._emulator, query)
        except ExtraMissing as error:
            return text_response(HTTPStatus.NOT_IMPLEMENTED, f"{error} {error.remedy}\n")
        return html_response(HTTPStatus.OK, page, (("Cache-Control", "no-store"),))


def _window(query: Mapping[str, str], most: int) -> dict[str, int]:
    return {"after": int(query.get("after", 0)), "limit": int(query.get("limit", most))}


def _object(request: Request) -> dict[str, Any]:
    try:
        data = json.loads(request.body or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidControlRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise InvalidControlRequest("The body is not a JSON object.")
    return data


def _alike(sample: object, value: object) -> bool:
    """Return whether a JSON value is of the kind of a known one and neither negative nor infinite."""
    if isinstance(sample, bool) or isinstance(value, bool):
        return isinstance(sample, bool) and isinstance(value, bool)
    if isinstance(sample, tuple):
        return isinstance(value, list) and len(value) == len(sample) and all(_alike(1.0, item) for item in value)
    return isinstance(value, int if isinstance(sample, int) else int | float) and 0 <= value < LARGEST_LIMIT
