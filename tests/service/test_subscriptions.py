from __future__ import annotations

import itertools
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, cast
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from connector.clock import VirtualClock
from connector.closing.close import fulfil
from connector.closing.model import (
    CloseActivity,
    Intent,
    OpportunityState,
    OrganizationMetadata,
    Outcome,
    Report,
    ReportStatus,
    Snapshot,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest, Organization
from connector.errors import Broken, NotSent, Unanswered
from connector.handler import Request, Response
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger
from connector.ledger.subscriptions import SubscriptionStore
from connector.service.auth.caller import Caller, CallerKind
from connector.service.operations.status_links import Seal
from connector.service.operations.waiting import DaemonExecutor, Waiter
from connector.service.problems import RequestRefused
from connector.service.schemas.request_models import SubscribeBody
from connector.service.schemas.response_models import ClosedEvent
from connector.service.webhooks.closed_elsewhere import KEY_HEADER, NET, ChangedOpportunities, ChangeTracker
from connector.service.webhooks.closed_events import REMEMBERS, Notifier, closed_event
from connector.service.webhooks.delivery_worker import GIVES_UP, PAUSES, DeliveryWorker
from connector.service.webhooks.subscription_service import LASTS, MOST, PLATFORM_HOSTS, SubscriptionService, allowed
from connector.service.webhooks.trigger import TriggerRoutes
from tests.closing.small_organization import OPPORTUNITY_ID, START, SmallOrganization, organization
from tests.service.messages import KEY, KEYS, win_message

TENANT, OWNER = "11111111-1111-1111-1111-111111111111", "user:t:1"
CALLBACK = "https://prod-1.westeurope.logic.azure.com/workflows/1/triggers/2?sp=%2Frun&sig=SECRETSIGNATURE"
KRONA = UUID(int=0x5E4)
CALLBACKS = (f"{CALLBACK}{number}" for number in itertools.count())


@dataclass
class Flows:
    """What waits for notifications: takes them, or answers as told."""

    taken: list[tuple[str, bytes]] = field(default_factory=list)
    answers: list[Response | Exception] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        self.taken.append((request.url, request.body))
        answer = self.answers.pop(0) if self.answers else Response(200)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Sales:
    """An organization in which opportunities are closed, by somebody."""

    inner: SmallOrganization = field(default_factory=lambda: organization([1, 2]))
    fails: bool = False
    currencies_fail: bool = False

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        assert needs == MetadataRequest(amounts=True)
        if self.fails or self.currencies_fail:
            raise Broken("The organization failed.", status=500)
        return replace(self.inner.metadata(), currencies={KRONA: "SEK"})

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        if self.fails:
            raise Broken("The organization failed.", status=500)
        return self.inner.observe(ids, activities=activities)

    def close(self, state: OpportunityState = OpportunityState.WON, *, days: float = 0, revenue: int = 100) -> None:
        inner = self.inner
        number = len(inner.rows.activities) + 1
        inner.set_opportunity(OpportunityState.OPEN, 1)  # where it is closed
        inner.set_opportunity(state, 3 if state is OpportunityState.WON else 4)
        moment = START + timedelta(days=days)
        made = CloseActivity(UUID(int=number), OPPORTUNITY_ID, completed=True, created_on=moment)
        inner.rows.activities[:] = [a for a in inner.rows.activities if a.id.int < 1000] + [made]  # ours alone
        amount, day = Decimal(revenue), date(2026, 1, 31)
        inner.rows.opportunity = replace(
            inner.rows.opportunity, actual_value=amount, actual_close_date=day, currency_id=KRONA
        )


def worker_for(subscriptions: SubscriptionService, http: Any, secret: bytes, clock: Any, hosts: Any) -> DeliveryWorker:
    return DeliveryWorker(
        subscriptions, http, Seal(secret), clock, hosts, DaemonExecutor(4, "fast"), DaemonExecutor(4, "slow")
    )


def delivered(worker: DeliveryWorker) -> int:
    """Deliver what is due and return how many events were taken."""
    return sum(future.result(60) for future in worker.round())


class Room:
    """Subscriptions, the notifier and the delivery worker over one store."""

    def __init__(self, ledger: Ledger, clock: VirtualClock) -> None:
        secret, entropy = b"a secret of at least some bytes", Random(7).randbytes
        self.clock, self.database = clock, ledger.database
        self.sales, self.flows = Sales(), Flows()
        self.subscriptions = SubscriptionService(
            SubscriptionStore(self.database), secret, clock, entropy, PLATFORM_HOSTS
        )
        self.notifier = Notifier(
            self.subscriptions, lambda _: cast("Organization", self.sales), Seal(secret), clock, entropy
        )
        self.delivery_worker = worker_for(self.subscriptions, self.flows, secret, clock, PLATFORM_HOSTS)
        self.changed: list[ChangedOpportunities] = []
        self.asked: list[tuple[str, str | None]] = []
        self.tracker = ChangeTracker(self.subscriptions, self.notifier, self.changes, clock)

    def organization_of_caller(self) -> Organization:
        return cast("Organization", self.sales)

    def changes(self, tenant: str, token: str | None) -> ChangedOpportunities:
        self.asked.append((tenant, token))
        return self.changed.pop(0)

    def subscribe(self, callback: str = CALLBACK, **wish: Any) -> Any:
        body = SubscribeBody.model_validate({"callbackUrl": callback, **wish})
        return self.subscriptions.subscribe(OWNER, TENANT, body)

    def announce(self, source: Any = "dataverse_webhook") -> int:
        return self.notifier.announce(TENANT, [OPPORTUNITY_ID], source)

    def events(self) -> list[Any]:
        return [ClosedEvent.model_validate_json(body) for _, body in self.flows.taken]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def room(tmp_path: Path, clock: VirtualClock) -> Iterator[Room]:
    with open_ledger(str(tmp_path / "jobs.db"), clock) as ledger:
        yield Room(ledger, clock)


# -- subscribing ------------------------------------------------------------------------------------------------------


def test_a_flow_that_subscribes_is_told_of_a_close(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    assert room.announce() == 1
    assert delivered(room.delivery_worker) == 1
    event = room.events()[0]
    assert (event.outcome, event.opportunity_id, event.operation_id) == ("won", OPPORTUNITY_ID, None)
    assert (event.source, event.occurred_at, event.actual_revenue) == ("dataverse_webhook", START, 100.0)
    assert [quote.state for quote in event.quotes] == ["draft", "active"]
    assert room.flows.taken[0][0] == CALLBACK
    assert delivered(room.delivery_worker) == 0


@pytest.mark.parametrize("own", [True, False])
def test_an_amount_is_told_with_its_currency_and_without_where_that_cannot_be_read(room: Room, *, own: bool) -> None:
    room.subscribe()
    for number, room.sales.currencies_fail in enumerate((False, True)):
        room.sales.close()
        if own:
            snapshot = room.sales.inner.observe([OPPORTUNITY_ID], activities=True)[OPPORTUNITY_ID]
            report = Report(OPPORTUNITY_ID, ReportStatus.CLOSED, after=snapshot)
            assert room.notifier.announce_own(TENANT, report, f"op{number}", room.organization_of_caller) == 1
        else:
            assert room.announce() == 1
    delivered(room.delivery_worker)
    assert [(event.actual_revenue, event.currency) for event in room.events()] == [(100.0, "SEK"), (100.0, None)]


@pytest.mark.parametrize("order", list(itertools.permutations(("own", "webhook", "tracking"))))
def test_a_close_that_is_noticed_three_times_is_told_once(room: Room, order: tuple[str, ...]) -> None:
    room.subscribe()
    intent = Intent(OPPORTUNITY_ID, Outcome.WON, key="k")
    report = fulfil(room.sales.inner, intent, pause=lambda _: None, chance=lambda: 0.0)
    notice = {
        "own": lambda: room.notifier.announce_own(TENANT, report, "op1", room.organization_of_caller),
        "webhook": lambda: room.announce("dataverse_webhook"),
        "tracking": lambda: room.announce("change_tracking"),
    }
    assert [notice[name]() for name in order] == [1, 0, 0]
    delivered(room.delivery_worker)
    (event,) = room.events()
    assert (event.outcome, event.operation_id) == ("won", "op1" if order[0] == "own" else None)


def test_what_was_closed_before_is_not_told_again_as_our_own(room: Room) -> None:
    room.subscribe()
    intent = Intent(OPPORTUNITY_ID, Outcome.WON, key="k")
    fulfil(room.sales.inner, intent, pause=lambda _: None, chance=lambda: 0.0)
    again = fulfil(room.sales.inner, replace(intent, key="k2"), pause=lambda _: None, chance=lambda: 0.0)
    assert room.notifier.announce_own(TENANT, again, "op2", room.organization_of_caller) == 0


def test_subscribing_again_renews_and_does_not_double(room: Room, clock: VirtualClock) -> None:
    first = room.subscribe(outcome="won")
    clock.advance(3600)
    again = room.subscribe(outcome="won")
    assert (again.id, again.expires) == (first.id, first.expires + 3600)
    assert room.subscriptions.address(again) == room.subscriptions.address(first)
    assert room.subscribe(outcome="lost").id != first.id
    assert len(room.subscriptions.of_tenant(TENANT)) == 2


def test_only_what_passes_the_filter_is_told(room: Room) -> None:
    room.subscribe(outcome="lost")
    room.subscribe(outcome="won", minimumRevenue="100.01")
    wanted = room.subscribe(outcome="won", minimumRevenue=100)
    room.sales.close(revenue=100)
    assert room.announce() == 1
    assert room.database.rows("SELECT subscription FROM delivery") == [(wanted.id,)]


def test_an_open_opportunity_is_no_news_and_neither_is_one_of_another_tenant(room: Room) -> None:
    room.subscribe()
    assert room.announce() == 0
    room.sales.close()
    assert room.notifier.announce("another tenant", [OPPORTUNITY_ID], "connector") == 0


def test_a_close_from_before_the_subscription_or_long_ago_is_no_news(room: Room, clock: VirtualClock) -> None:
    room.sales.close()
    clock.advance(3600)
    room.subscribe()
    assert room.announce("change_tracking") == 0
    room.sales.close(days=1)
    clock.advance(REMEMBERS + 2 * 86400)
    assert room.announce("change_tracking") == 0


def test_a_subscription_ends_when_it_is_not_renewed(room: Room, clock: VirtualClock) -> None:
    room.subscribe()
    clock.advance(LASTS)
    assert room.subscriptions.of_tenant(TENANT) == []
    room.delivery_worker.sweep()
    assert room.database.rows("SELECT count(*) FROM subscription") == [(0,)]


def test_the_number_of_subscriptions_is_bounded(room: Room) -> None:
    for _ in range(MOST):
        room.subscribe(next(CALLBACKS))
    with pytest.raises(RequestRefused) as refused:
        room.subscribe(next(CALLBACKS))
    assert refused.value.failure.status == 429


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_the_store_holds_no_callback_and_no_customer_text(room: Room, tmp_path: Path) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    room.database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    for secret in (b"SECRETSIGNATURE", b"logic.azure.com", room.sales.inner.rows.opportunity.name.encode()):
        assert secret not in stored


def test_no_log_holds_a_callback(room: Room, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = SubscribeBody.model_validate({"callbackUrl": CALLBACK})
    assert "SECRETSIGNATURE" not in repr(body)
    room.subscribe()
    room.sales.close()
    room.announce()
    room.flows.answers = [NotSent(f"No connection to {CALLBACK}."), Response(410)]
    delivered(room.delivery_worker)
    clock.advance(PAUSES[0])
    delivered(room.delivery_worker)
    assert "removed" in caplog.text
    assert "SECRETSIGNATURE" not in caplog.text


def test_with_another_secret_a_subscription_is_of_no_use_and_is_removed(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    other = SubscriptionService(room.subscriptions.store, b"another", room.clock, secrets.token_bytes, PLATFORM_HOSTS)
    delivery_worker = worker_for(other, room.flows, b"another", room.clock, PLATFORM_HOSTS)
    assert delivered(delivery_worker) == 0
    assert (room.flows.taken, room.subscriptions.of_tenant(TENANT)) == ([], [])


def test_a_host_that_is_no_longer_allowed_is_not_called(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    delivery_worker = worker_for(
        room.subscriptions, room.flows, b"a secret of at least some bytes", room.clock, (".other",)
    )
    assert (delivered(delivery_worker), room.flows.taken) == (0, [])


@pytest.mark.parametrize(
    "host",
    ["prod-1.westeurope.logic.azure.com", "prod-8.usgovtexas.logic.azure.us", "prod-5.chinaeast2.logic.azure.cn",
     "d1.environment.api.powerplatform.com", "d1.environment.api.gov.powerplatform.microsoft.us",
     "d1.environment.api.high.powerplatform.microsoft.us", "d1.environment.api.appsplatform.us",
     "d1.environment.api.powerplatform.partner.microsoftonline.cn"],
)  # fmt: skip
def test_flows_of_every_cloud_may_be_told(host: str) -> None:
    assert allowed(f"https://{host}/workflows/1?sig=x", PLATFORM_HOSTS)


FORGED = [
    "http://prod-1.logic.azure.com/x",
    "https://logic.azure.com/x",
    "https://evil.example/x",
    "https://evil.example/.logic.azure.com",
    "https://evil.example?x=.logic.azure.com",
    "https://evil.example#.logic.azure.com",
    "https://prod.logic.azure.com.evil.example/",
    "https://prodlogic.azure.com/",
    "https://user@prod.logic.azure.com/",
    "https://prod.logic.azure.com@evil.example/",
    "https://evil.example\\@prod.logic.azure.com/",
    "https://evil.example\\.logic.azure.com/",
    "https://prod.logic.azure.com:8080/",
    "https://prod.logic.azure.com:443@evil.example/",
    "https://169.254.169.254/.logic.azure.com",
    "https://[::1]/.logic.azure.com",
    "https://2130706433/",
    "https://localhost/",
    "https://prod.logic.azure.com./x",
    "https://prod.logic.azure.com/x\r\nHost: evil",
    "https://prod.logic.azure.com/ x",
    "https://prod.logic.azure.com%2eevil.example/",
    "https://prod.logic\u3002azure.com/",
    "https:///prod.logic.azure.com/",
    "https:prod.logic.azure.com/",
    "//prod.logic.azure.com/",
    "file:///etc/passwd.logic.azure.com",
    "gopher://prod.logic.azure.com/",
    " https://prod.logic.azure.com/",
    "https://prod.logic.azure.com/" + "x" * 4096,
    "",
]


@pytest.mark.parametrize("url", FORGED)
def test_a_callback_anywhere_else_is_refused(url: str) -> None:
    assert not allowed(url, PLATFORM_HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        CALLBACK,
        "https://PROD-1.Logic.Azure.com:443/x?y=%20z",
        "https://default1.environment.api.powerplatform.com/powerautomate/x",
        "https://europe-001.azure-apim.net/apim/x",
    ],
)
def test_a_callback_of_the_platform_is_allowed(url: str) -> None:
    assert allowed(url, PLATFORM_HOSTS)


@given(st.text(alphabet="ahtps:/@.\\#?[]%0 1evil-logic.azure.com\t\n", max_size=60))
def test_whatever_is_allowed_is_at_an_allowed_host_for_other_readers_too(text: str) -> None:
    from requests.models import PreparedRequest

    url = f"https://{text}"
    if allowed(url, PLATFORM_HOSTS):
        prepared = PreparedRequest()
        prepared.prepare_url(url, {})
        host = str(prepared.url).removeprefix("https://").partition("/")[0].partition("?")[0].partition(":")[0]
        assert host.lower().endswith(PLATFORM_HOSTS)


def test_an_allow_list_without_dots_allows_nothing() -> None:
    assert not allowed("https://evillogic.azure.com/", ("logic.azure.com", ""))


# -- delivering -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [Response(500), Response(429), Response(302), NotSent("No."), Unanswered("Lost.")], ids=str
)
def test_what_is_not_taken_is_sent_again_later_with_the_same_event_id(
    room: Room, clock: VirtualClock, failure: Response | Exception
) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    room.flows.answers = [failure, failure]
    waited = 0.0
    for pause in PAUSES[:2]:
        assert delivered(room.delivery_worker) == 0
        assert delivered(room.delivery_worker) == 0
        clock.advance(pause)
        waited += pause
    assert delivered(room.delivery_worker) == 1
    assert len({event.event_id for event in room.events()}) == 1
    assert len(room.flows.taken) == 3


def test_a_flow_that_asks_for_time_gets_it(room: Room, clock: VirtualClock) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    room.flows.answers = [Response(503, (("Retry-After", "700"),))]
    delivered(room.delivery_worker)
    clock.advance(699)
    assert delivered(room.delivery_worker) == 0
    clock.advance(1)
    assert delivered(room.delivery_worker) == 1


@pytest.mark.parametrize("status", [404, 410])
def test_a_flow_that_has_gone_is_not_told_again(room: Room, clock: VirtualClock, status: int) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    room.flows.answers = [Response(status)]
    delivered(room.delivery_worker)
    assert room.subscriptions.of_tenant(TENANT) == []
    clock.advance(86400)
    assert (delivered(room.delivery_worker), len(room.flows.taken)) == (0, 1)


def test_a_flow_that_fails_for_days_is_given_up(room: Room, clock: VirtualClock) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    room.flows.answers = [Response(500)] * 100
    passed = 0.0
    while room.subscriptions.of_tenant(TENANT) and passed < 2 * GIVES_UP:
        delivered(room.delivery_worker)
        clock.advance(3600)
        passed += 3600
    assert GIVES_UP <= passed <= GIVES_UP + PAUSES[-1] + 3600


@pytest.mark.parametrize("back", [timedelta(minutes=10), timedelta(days=30)])
def test_a_clock_set_back_delays_nothing_and_loses_nothing(tmp_path: Path, back: timedelta) -> None:
    late, early = VirtualClock(START), VirtualClock(START - back)
    with open_ledger(str(tmp_path / "jobs.db"), late) as ledger:
        room = Room(ledger, late)
        room.subscribe()
        room.sales.close()
        room.announce()
        room.flows.answers = [Response(503, (("Retry-After", "700"),))]
        assert delivered(room.delivery_worker) == 0
    with open_ledger(str(tmp_path / "jobs.db"), early) as ledger:
        again = Room(ledger, early)
        assert delivered(again.delivery_worker) == 1
        again.sales = room.sales
        again.sales.close(days=-back / timedelta(days=1))
        assert again.announce() == 1


def test_a_clock_that_jumps_ahead_gives_up_no_flow_that_failed_once(room: Room, clock: VirtualClock) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    room.flows.answers = [Response(500), Response(500)]
    delivered(room.delivery_worker)
    clock.advance(2 * GIVES_UP)
    assert [delivered(room.delivery_worker), len(room.subscriptions.of_tenant(TENANT))] == [0, 1]


def test_a_close_noticed_three_ways_is_told_once(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    assert [room.announce(source) for source in ("connector", "dataverse_webhook", "change_tracking")] == [1, 0, 0]
    delivered(room.delivery_worker)
    assert room.announce("change_tracking") == 0


def test_an_opportunity_closed_again_is_told_again(room: Room, clock: VirtualClock) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    clock.advance(86400)
    room.sales.close(OpportunityState.LOST, days=1)
    assert room.announce() == 1
    delivered(room.delivery_worker)
    assert [event.outcome for event in room.events()] == ["won", "lost"]


def test_two_couriers_do_not_send_the_same_thing(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    second = worker_for(room.subscriptions, room.flows, b"a secret of at least some bytes", room.clock, PLATFORM_HOSTS)
    nested: list[int] = []
    plain = room.flows.__call__

    def meddling(request: Request) -> Response:
        nested.append(delivered(second))
        return plain(request)

    delivery_worker = worker_for(
        room.subscriptions, meddling, b"a secret of at least some bytes", room.clock, PLATFORM_HOSTS
    )
    assert (delivered(delivery_worker), nested, len(room.flows.taken)) == (1, [0], 1)


def test_what_was_sent_is_forgotten_after_a_while(room: Room, clock: VirtualClock) -> None:
    room.subscribe()
    room.sales.close()
    room.announce()
    delivered(room.delivery_worker)
    clock.advance(REMEMBERS + 1)
    room.delivery_worker.sweep()
    assert room.database.rows("SELECT count(*) FROM delivery") == [(0,)]


def test_an_event_without_a_visible_activity_is_named_after_what_is_visible() -> None:
    sales = Sales()
    sales.close()
    sales.inner.rows.activities.clear()
    snapshot = sales.inner.observe([OPPORTUNITY_ID])[OPPORTUNITY_ID]
    first, again = (closed_event(TENANT, snapshot, "connector", START) for _ in range(2))
    assert first is not None
    assert again is not None
    assert (first.event_id, first.occurred_at) == (again.event_id, START)


# -- change tracking --------------------------------------------------------------------------------------------------


def test_tracking_begins_now_and_goes_on_from_its_token(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    room.changed = [
        ChangedOpportunities([OPPORTUNITY_ID], "t1"),
        ChangedOpportunities([OPPORTUNITY_ID], "t2"),
        ChangedOpportunities([], "t3"),
    ]
    assert [room.tracker.round() for _ in range(3)] == [0, 1, 0]
    assert room.asked == [(TENANT, None), (TENANT, "t1"), (TENANT, "t2")]


def test_tracking_asks_again_for_what_could_not_be_announced(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    room.changed = [
        ChangedOpportunities([], "t1"),
        ChangedOpportunities([OPPORTUNITY_ID], "t2"),
        ChangedOpportunities([OPPORTUNITY_ID], "t2"),
    ]
    room.tracker.round()
    room.sales.fails = True
    assert room.tracker.round() == 0
    room.sales.fails = False
    assert room.tracker.round() == 1
    assert [token for _, token in room.asked] == [None, "t1", "t1"]


def test_a_tenant_that_cannot_be_asked_keeps_no_other_from_being_told(room: Room) -> None:
    room.subscribe()
    body = SubscribeBody.model_validate({"callbackUrl": CALLBACK})
    room.subscriptions.subscribe("user:t:2", "00000000-first-in-order", body)

    def changes(tenant: str, token: str | None) -> ChangedOpportunities:
        if tenant != TENANT:
            raise Broken("The organization failed.", status=500)
        return ChangedOpportunities([OPPORTUNITY_ID], f"{token}+")

    tracker = ChangeTracker(room.subscriptions, room.notifier, changes, room.clock)
    tracker.round()
    room.sales.close()
    assert tracker.round() == 1


def test_an_organization_with_a_webhook_is_asked_seldom_but_is_asked(room: Room, clock: VirtualClock) -> None:
    room.subscribe()
    room.changed = [ChangedOpportunities([], f"t{number}") for number in range(3)]
    tracker = ChangeTracker(room.subscriptions, room.notifier, room.changes, clock, frozenset((TENANT,)))
    clock.advance(NET)
    for _ in range(20):
        tracker.round()
        clock.advance(60)
    assert [token for _, token in room.asked] == [None, "t0"]


def test_nothing_is_asked_while_nobody_listens(room: Room) -> None:
    assert room.tracker.round() == 0
    assert room.asked == []


# -- over HTTP --------------------------------------------------------------------------------------------------------


def client_of(
    room: Room, base: Callable[[Mapping[str, str], Callable[[], str]], str] = lambda _, own: own().rstrip("/")
) -> TestClient:
    app = FastAPI()
    routes = TriggerRoutes(room.subscriptions, room.notifier, room.tracker.look, KEYS, base, Waiter())
    app.include_router(routes.router())

    @app.middleware("http")
    async def sign_in(request: Any, call_next: Any) -> Any:
        request.state.caller = Caller(CallerKind.USER, TENANT, "1", "app")
        return await call_next(request)

    @app.exception_handler(RequestRefused)
    async def declined(_: Any, error: RequestRefused) -> JSONResponse:
        return JSONResponse({"error": {"code": error.failure.code}}, error.failure.status)

    return TestClient(app, base_url="https://close.contoso.com")


def test_a_flow_subscribes_and_unsubscribes_at_the_location_without_signing_in(room: Room) -> None:
    client = client_of(room)
    made = client.post("/subscriptions", json={"callbackUrl": CALLBACK, "outcome": "won"})
    assert made.status_code == 201
    location = made.headers["location"]
    assert location.startswith("https://close.contoso.com/subscriptions/")
    assert set(made.json()) == {"subscriptionId", "expiresAt", "outcome"}
    assert made.json()["subscriptionId"] != location.rpartition("/")[2], "the id in the body ends nothing"
    assert len(room.subscriptions.of_tenant(TENANT)) == 1
    assert client.delete(location).status_code == 204
    assert room.subscriptions.of_tenant(TENANT) == []
    assert client.delete(location).status_code == 204, "ending it twice is no failure"


@pytest.mark.parametrize("key", ["x", "{id}", "{id}.", "{id}.forged", "{id}.{other}"])
def test_nobody_else_ends_a_subscription(room: Room, key: str) -> None:
    mine, other = room.subscribe(), room.subscribe(next(CALLBACKS))
    signature = room.subscriptions.address(other).partition(".")[2]
    path = f"/subscriptions/{key.format(id=mine.id, other=signature)}"
    assert client_of(room).delete(path).status_code == 404
    assert len(room.subscriptions.of_tenant(TENANT)) == 2


def test_a_forged_callback_is_answered_without_repeating_it(room: Room) -> None:
    answer = client_of(room).post("/subscriptions", json={"callbackUrl": "https://169.254.169.254/secret"})
    assert answer.status_code == 400
    assert answer.json() == {"error": {"code": "callback_not_allowed"}}


def test_a_webhook_of_dataverse_becomes_an_event(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    answer = client_of(room).post("/webhooks/dataverse", json=win_message(OPPORTUNITY_ID), headers={KEY_HEADER: KEY})
    assert answer.status_code == 200
    delivered(room.delivery_worker)
    assert [event.source for event in room.events()] == ["dataverse_webhook"]


def test_the_key_may_stand_in_the_query(room: Room) -> None:
    answer = client_of(room).post(f"/webhooks/dataverse?code={KEY}", json=win_message(OPPORTUNITY_ID))
    assert answer.status_code == 200


@pytest.mark.parametrize("key", ["", "wrong", KEY[:-1], KEY + "x"])
def test_a_webhook_without_the_right_key_is_refused_before_anything_is_read(room: Room, key: str) -> None:
    room.subscribe()
    room.sales.close()
    answer = client_of(room).post("/webhooks/dataverse", json=win_message(OPPORTUNITY_ID), headers={KEY_HEADER: key})
    assert answer.status_code == 401
    assert room.sales.inner.calls == 0


def test_a_stripped_webhook_makes_the_organization_be_asked(room: Room) -> None:
    room.subscribe()
    room.sales.close()
    room.changed = [ChangedOpportunities([], "t1"), ChangedOpportunities([OPPORTUNITY_ID], "t2")]
    room.tracker.round()
    message = win_message(OPPORTUNITY_ID)
    message["InputParameters"], message["PrimaryEntityId"] = [], str(UUID(int=0))
    headers = {KEY_HEADER: KEY, "x-ms-dynamics-msg-size-exceeded": "true"}
    answer = client_of(room).post("/webhooks/dataverse", json=message, headers=headers)
    assert answer.status_code == 200
    assert delivered(room.delivery_worker) == 1


def test_a_webhook_about_something_else_is_left_alone(room: Room) -> None:
    message = win_message(OPPORTUNITY_ID) | {"PrimaryEntityName": "account", "MessageName": "Update"}
    answer = client_of(room).post("/webhooks/dataverse", json=message, headers={KEY_HEADER: KEY})
    assert answer.status_code == 204
    assert json.dumps(message)
    assert room.sales.inner.calls == 0
