"""Service protection, latency, servers, workers and locks as a client meets them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from connector.emulator.embedded import open_embedded
from connector.emulator.identity.issuer import Application, Secret, local_tenant
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.calls import LatencyModel
from connector.emulator.seeding.emulator_options import MEMORY, EmulatorOptions
from tests.emulator.stranger.conftest import Organized
from tests.emulator.stranger.held import HeldClock
from tests.emulator.stranger.wire import Stranger, error_of

COUNT = "x-ms-ratelimit-burst-remaining-xrm-requests"
TIME = "x-ms-ratelimit-time-remaining-xrm-requests"
STEADY = LatencyModel(medians={"WhoAmI": 10.0, "Retrieve": 2.0, "CloseQuote": 4.0}, other=1.0, per_batch=0.5, sigma=0.0)


def who(client: Stranger, **headers: str) -> requests.Response:
    client.session.cookies.clear()
    return client.send("GET", "WhoAmI", **headers)


def left(answer: requests.Response) -> tuple[int, float]:
    return int(answer.headers[COUNT]), float(answer.headers[TIME].replace(",", ""))


# The three facets.


def test_six_thousand_requests_in_five_minutes_and_not_one_more(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0))
    client.control("PATCH", "limits", {"requests": 40})
    assert [who(client).status_code for _ in range(40)] == [200] * 40
    refused = who(client)
    assert error_of(refused) == (
        429, "0x80072322", "Number of requests exceeded the limit of 40 over time window of 300 seconds.",
    )  # fmt: skip
    assert re.fullmatch(r"[1-9]\d*", refused.headers["Retry-After"])
    wait = int(refused.headers["Retry-After"])
    client.pass_time(wait - 1)
    early = who(client)
    assert early.status_code == 429
    client.pass_time(int(early.headers["Retry-After"]))
    assert who(client).status_code == 200


def test_who_waits_exactly_as_long_as_told_is_let_in(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0))
    client.control("PATCH", "limits", {"requests": 5})
    for _ in range(5):
        who(client)
        client.pass_time(7)
    refused = who(client)
    assert refused.status_code == 429
    client.pass_time(int(refused.headers["Retry-After"]))
    assert who(client).status_code == 200


def test_every_request_before_the_time_makes_the_wait_longer(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0))
    client.control("PATCH", "limits", {"requests": 3})
    for _ in range(3):
        who(client)
    ends = []
    for passed in range(6):
        ends.append(passed + int(who(client).headers["Retry-After"]))
        client.pass_time(1)
    assert ends == sorted(set(ends))


def test_a_wait_never_grows_beyond_its_bound(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0))
    client.control("PATCH", "limits", {"requests": 3, "poke_seconds": 200.0, "longest_penalty": 700.0})
    waits = [int(answer.headers.get("Retry-After", 0)) for answer in [who(client) for _ in range(12)]]
    assert max(waits) == 700


def test_twenty_minutes_of_execution_in_five_minutes(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0, latency=STEADY))
    client.control("PATCH", "limits", {"execution_seconds": 25.0})
    assert [who(client).status_code for _ in range(3)] == [200] * 3
    status, code, words = error_of(who(client))
    assert (status, code) == (429, "0x80072321")
    assert words == (
        "Combined execution time of incoming requests exceeded limit of 25,000 milliseconds over time window of 300 "
        "seconds. Decrease number of concurrent requests or reduce the duration of requests and try again later."
    )


def test_the_limits_are_the_documented_ones_unless_changed(stranger: Stranger) -> None:
    limits = stranger.control("GET", "limits")
    assert (limits["requests"], limits["execution_seconds"], limits["window_seconds"]) == (6000, 1200.0, 300.0)
    assert limits["concurrency"] == 52
    assert who(stranger).headers[TIME] == "1,200.00"


Held = tuple[Stranger, HeldClock, Callable[[str, int], list[threading.Thread]], list[requests.Response]]


@pytest.fixture
def held(keys: Keys) -> Held:
    """A client of an organization whose clock holds every wait, and a way to send requests that stay under way."""
    clock = HeldClock()
    embedded = open_embedded(MEMORY, clock, EmulatorOptions(seeded=12, latency=STEADY), keys)
    session = requests.Session()
    session.mount("https://", embedded.adapter())
    client = Stranger(session, embedded.url, embedded.authority, embedded.client_id, embedded.client_secret).sign_in()
    answers: list[requests.Response] = []

    def under_way(path: str, number: int) -> list[threading.Thread]:
        def send() -> None:
            with requests.Session() as own:
                own.mount("https://", embedded.adapter())
                answers.append(replace(client, session=own).send("GET", path))

        threads = [threading.Thread(target=send, daemon=True) for _ in range(number)]
        before = len(clock.waits)
        for thread in threads:
            thread.start()
        clock.until_waiting(before + number)
        return threads

    return client, clock, under_way, answers


@pytest.mark.parametrize("limit", [52, 7])
def test_the_request_after_the_last_one_in_flight_is_refused_at_once_and_the_gauge_clears_at_once(
    held: Held, limit: int
) -> None:
    client, clock, under_way, answers = held
    if limit != 52:
        client.control("PATCH", "limits", {"concurrency": limit})
    threads = under_way("WhoAmI", limit)
    refused = who(client)
    assert error_of(refused) == (
        429, "0x80072326", f"Number of concurrent requests exceeded the limit of {limit}.",
    )  # fmt: skip
    assert 363 <= int(refused.headers["Retry-After"]) <= 427
    client.control("PATCH", "limits", {"concurrency_retry_after": [2.0, 2.0]})
    assert who(client).headers["Retry-After"] == "2"
    clock.let_go()
    for thread in threads:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [200] * limit
    assert who(client).status_code == 200


def test_a_server_with_three_workers_makes_the_fourth_request_wait_for_one(held: Held) -> None:
    client, clock, under_way, _ = held
    client.control("PATCH", "limits", {"workers": 3})
    threads = under_way("WhoAmI", 7)
    assert sorted(clock.waits) == [10.0, 10.0, 10.0, 20.0, 20.0, 20.0, 30.0]
    clock.let_go()
    for thread in threads:
        thread.join(60)


def test_writes_to_rows_of_one_account_wait_for_each_other(keys: Keys) -> None:
    clock = HeldClock()
    embedded = open_embedded(MEMORY, clock, EmulatorOptions(seeded=12, latency=STEADY), keys)
    threads = []
    with requests.Session() as session:
        session.mount("https://", embedded.adapter())
        client = Stranger(session, embedded.url, embedded.authority, embedded.client_id, embedded.client_secret)
        client.sign_in()
        quote, account = "00001084-0000-4000-8000-{:012d}", "/accounts(00000001-0000-4000-8000-{:012d})"
        rows = {number: quote.format(number) for number in (11, 12, 21, 31)}
        found = embedded.emulator.organization.accounts_of(rows.values())
        owners = {number: embedded.emulator.organization.accounts_of([row])[0] for number, row in rows.items()}
        assert len(found) < len(rows), "two of these quotes belong to one account"

    def send(number: int) -> None:
        with requests.Session() as own:
            own.mount("https://", embedded.adapter())
            replace(client, session=own).close("CloseQuote", rows[number], 5)

    for at, number in enumerate(rows, 1):
        threads.append(threading.Thread(target=send, args=(number,), daemon=True))
        threads[-1].start()
        clock.until_waiting(at)
    expected, held_until = [], dict.fromkeys(owners.values(), 0.0)
    for number in rows:
        held_until[owners[number]] += 4.0
        expected.append(held_until[owners[number]])
    assert clock.waits == expected
    assert max(expected) > 4.0
    clock.let_go()
    for thread in threads:
        thread.join(60)
    assert account


# What a batch counts.


def batch(client: Stranger, *requests_of_it: str) -> requests.Response:
    part = (
        "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nGET {} HTTP/1.1\r\n\r\n\r\n"
    )
    body = "".join(part.format(one) for one in requests_of_it) + "--b--\r\n"
    return client.send("POST", "$batch", body.encode(), Content_Type="multipart/mixed; boundary=b")


def test_a_batch_is_one_request_takes_all_its_time_and_counts_every_operation(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0, latency=STEADY))
    before = left(client.send("GET", "WhoAmI"))
    counted = sum(client.control("GET", "health")["entitlement"].values())
    after = left(batch(client, *["WhoAmI"] * 6))
    assert before[0] - after[0] == 1
    assert before[1] - after[1] == pytest.approx(6 * 10.0 + 0.5)
    assert sum(client.control("GET", "health")["entitlement"].values()) == counted + 6


def test_each_message_takes_its_own_time(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=12, latency=STEADY))

    def taken(method: str, path: str) -> float:
        begin = client.control("GET", "clock")["now"]
        client.send(method, path)
        return float(client.control("GET", "clock")["now"][17:23]) - float(begin[17:23])

    assert taken("GET", "opportunities(00000003-0000-4000-8000-000000000001)?$select=name") == pytest.approx(2.0)
    assert taken("GET", "opportunities?$select=name&$top=1") == pytest.approx(1.0)
    assert taken("GET", "WhoAmI") == pytest.approx(10.0)


def test_times_spread_around_their_median_and_are_the_same_again_for_the_same_seed(organized: Organized) -> None:
    def times(seed: int) -> list[float]:
        model = replace(STEADY, sigma=0.35)
        client = organized(EmulatorOptions(seeded=0, latency=model, seed=seed))
        for _ in range(60):
            client.send("GET", "WhoAmI")
        return [one["seconds"] for one in client.control("GET", "journal") if one["title"] == "WhoAmI"]

    first = times(3)
    assert times(3) == first
    assert times(4) != first
    assert 9.0 < sorted(first)[30] < 11.5
    assert max(first) > 13
    assert min(first) < 8


# Servers.


def test_an_affinity_cookie_pins_and_none_spreads(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0))
    client.control("PATCH", "limits", {"servers": 4})
    spread = {who(client).cookies["ARRAffinity"] for _ in range(60)}
    assert len(spread) == 4
    assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in spread)
    for cookie in sorted(spread):
        answers = [who(client, Cookie=f"ARRAffinity={cookie}") for _ in range(5)]
        assert {answer.cookies["ARRAffinity"] for answer in answers} == {cookie}


def test_each_server_and_each_user_has_a_budget_of_its_own(organized: Organized) -> None:
    tenant = local_tenant()
    second = Application(
        "5a1f6f0c-0000-4d0b-8f51-7f1c3d2e4b60", "c2a9f4d1-0000-4e58-9a06-1d8e5f7b2c30", "2", (Secret("s"),)
    )
    two = replace(tenant, applications=(*tenant.applications, second))
    client = organized(EmulatorOptions(seeded=0, tenant=two))
    other = replace(client, client_id=second.client_id, client_secret="s", headers=dict(client.headers)).sign_in()
    client.control("PATCH", "limits", {"servers": 2, "requests": 40})
    cookies = sorted({who(client).cookies["ARRAffinity"] for _ in range(30)})
    one = f"ARRAffinity={cookies[0]}"
    while who(client, Cookie=one).status_code == 200:
        pass
    assert who(client, Cookie=f"ARRAffinity={cookies[1]}").status_code == 200
    assert who(other, Cookie=one).status_code == 200
    assert who(client, Cookie=one).status_code == 429


def test_a_refused_request_changed_nothing(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0))
    deal = client.deal()
    client.control("PATCH", "limits", {"requests": 1})
    assert client.close("LoseOpportunity", deal, 5).status_code == 429
    client.control("PATCH", "limits", {"enforced": False})
    assert client.state("opportunities", deal) == (0, 1)


def test_what_the_limits_did_stands_in_the_journal(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0))
    client.control("PATCH", "limits", {"requests": 1})
    who(client)
    who(client)
    last = client.control("GET", "journal")[-1]
    assert (last["status"], last["rule"]) == (429, "protection.count")
    assert json.dumps(last).count("0x80072322") == 1
