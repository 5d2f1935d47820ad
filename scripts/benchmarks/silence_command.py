"""The command `scripts/bench silence`: what others wait while subscribers, or the key server, say nothing.

Store, threads, cryptography and times are real, all in this process; the callbacks, the key server and the organization
are functions of it, and what hangs holds its thread for as long as the endpoint waits for an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

from fastapi import FastAPI

from connector.clock import SystemClock
from connector.errors import Unanswered
from connector.handler import Request, Response
from connector.ledger.store import open_ledger
from connector.ledger.subscriptions import SubscriptionStore
from connector.service.app import create_app
from connector.service.auth.token_validator import TIMEOUT as KEY_SECONDS
from connector.service.operations.status_links import Seal
from connector.service.operations.waiting import DaemonExecutor
from connector.service.periodic_tasks import PeriodicTask, PeriodicTasks
from connector.service.schemas.request_models import SubscribeBody
from connector.service.service_options import Access
from connector.service.webhooks.delivery_worker import TIMEOUT, DeliveryWorker
from connector.service.webhooks.subscription_service import PLATFORM_HOSTS, SubscriptionService
from connector.service.webhooks.trigger import DESTINATIONS, FAILING_DESTINATIONS, ROUND
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.endpoint import percentile
from scripts.benchmarks.records import keep, markdown
from tests.service.entra import ADMISSION, Entra
from tests.service.flow_engine import call
from tests.service.stage import OPTIONS, Stage

SUBSCRIBERS, HANGING = 1_000, 50
_SECRET = b"s" * 32
_EVENTS = ("first event", "second event, when it is known who hangs")
TARGETS = {f"{event}: the last of the others was told after, s": 5.0 for event in _EVENTS}
STRANGERS = "tokens of strangers a second, with key ids that nobody knows"


class _Callbacks:
    """Answers at once, or, where it hangs, not until the endpoint gives up."""

    def __init__(self, hanging: frozenset[str]) -> None:
        self.hanging = hanging
        self.told: list[float] = []

    def __call__(self, request: Request) -> Response:
        if request.url in self.hanging:
            time.sleep(TIMEOUT)
            return Response(503)
        self.told.append(time.monotonic())
        return Response(202)


def deliveries(folder: Path) -> Mapping[str, float]:
    """Return how long the subscribers that answer wait for an event, beside those that hang."""
    clock, urls = SystemClock(), [f"https://prod-{n}.westeurope.logic.azure.com/{n}" for n in range(SUBSCRIBERS)]
    callbacks = _Callbacks(frozenset(urls[:HANGING]))
    figures: dict[str, float] = {}
    with open_ledger(str(folder / "jobs.db"), clock) as ledger:
        store = SubscriptionStore(ledger.database)
        service = SubscriptionService(store, _SECRET, clock, Random(7).randbytes, PLATFORM_HOSTS)
        executors = DaemonExecutor(DESTINATIONS, "fast"), DaemonExecutor(FAILING_DESTINATIONS, "slow")
        worker = DeliveryWorker(service, callbacks, Seal(_SECRET), clock, PLATFORM_HOSTS, *executors)
        ids = [
            service.subscribe("owner", "tenant", SubscribeBody.model_validate({"callbackUrl": url})).id for url in urls
        ]
        tasks = PeriodicTasks((PeriodicTask("Telling subscribers", ROUND, worker.round),), clock)
        tasks.start()
        for event in _EVENTS:
            callbacks.told.clear()
            for id_ in ids:
                sealed = Seal(_SECRET).close("{}", f"{id_}.{event}", Random(7).randbytes(12))
                store.add_delivery(id_, event, sealed, clock.now().timestamp())
            began = time.monotonic()
            while len(callbacks.told) < SUBSCRIBERS - HANGING and time.monotonic() < began + 120:
                time.sleep(0.01)
            figures[f"{event}: the last of the others was told after, s"] = max(callbacks.told) - began
            time.sleep(TIMEOUT + 1)
        tasks.stop()
    return figures


def known_callers(folder: Path, seconds: float) -> Mapping[str, float]:
    """Return how long requests of known callers take, before and while the key server hangs."""
    stage, entra = Stage(folder), Entra(SystemClock())
    server = _KeyServer(entra)
    options = replace(OPTIONS, admission=replace(ADMISSION, access=Access.APPLICATION), requests_per_minute=10**9)
    app = create_app(replace(options, workers=0), replace(stage.dependencies(), keys_http=server))
    ours = {"authorization": f"Bearer {entra.token()}"}

    async def play() -> Mapping[str, float]:
        await call(app, "GET", "/operations", ours, None)
        before = await _answered(app, ours, seconds / 10)
        server.silent, server.asked = True, 0
        strangers = asyncio.create_task(_strangers(app, entra))
        during = await _answered(app, ours, seconds)
        strangers.cancel()
        return {
            "a known caller's request, p99, ms": 1000 * percentile(before, 99),
            "the same while the key server hangs, p99, ms": 1000 * percentile(during, 99),
            "the slowest of them, ms": 1000 * max(during),
            "requests in that time": len(during),
            "for so many seconds": seconds,
            STRANGERS: 10,
            "times that the key server was asked": server.asked,
        }

    try:
        return asyncio.run(play())
    finally:
        stage.close()


class _KeyServer:
    """Answers as Entra, or, once it is `silent`, not until it is given up."""

    def __init__(self, entra: Entra) -> None:
        self._entra = entra
        self.silent = False
        self.asked = 0

    def __call__(self, request: Request) -> Response:
        self.asked += 1
        if self.silent:
            time.sleep(KEY_SECONDS)
            raise Unanswered("It has not answered in time.")
        return self._entra.http(request)


async def _answered(app: FastAPI, headers: Mapping[str, str], seconds: float) -> list[float]:
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        answer = await call(app, "GET", "/operations", headers, None)
        took.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"a known caller was answered with {answer.status}")
        await asyncio.sleep(0.01)
    return took


async def _strangers(app: FastAPI, entra: Entra) -> None:
    token = {"authorization": f"Bearer {entra.token(kid='unknown', signer='k1')}"}
    waiting = set()
    while True:
        waiting.add(asyncio.create_task(call(app, "GET", "/operations", token, None)))
        waiting = {task for task in waiting if not task.done()}
        await asyncio.sleep(0.1)


def main(options: argparse.Namespace) -> int:
    """Measure; returns 1 when a target is missed."""
    logging.getLogger("connector").setLevel(logging.ERROR)
    before = conditions(("fastapi",))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        figures = {**deliveries(Path(one)), **known_callers(Path(two), 20.0 if options.quick else 600.0)}
    missed = [name for name, most in TARGETS.items() if figures[name] > most]
    data = {"benchmark": "silence", "conditions": before, "figures": figures, "missed": missed}
    targets = {name: f"≤ {most:g}" for name, most in TARGETS.items()}
    rows = [(name, f"{value:,.2f}", targets.get(name, "")) for name, value in figures.items()]
    tables = markdown(("figure", "measured", "target"), rows)
    if options.keep:
        keep("silence", data, tables)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else f"{tables}\nmissed: {missed or 'nothing'}\n")
    return 1 if missed else 0
