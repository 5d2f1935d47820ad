from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from random import Random
from typing import ClassVar

import pytest

from connector.clock import SystemClock, VirtualClock
from connector.dataverse.pacing.gate import WRITES, Gate, feedback_of, weigh
from connector.dataverse.pacing.permits import Binding, Facet
from connector.dataverse.pacing.service_limits import Budget
from connector.dataverse.policies import RetryPolicy, retry
from connector.errors import NotSent, Unanswered
from connector.handler import Request, Response

URL = "https://org.crm.dynamics.com/api/data/v9.2/"
TIME_REFUSAL = (
    b'{"error":{"code":"0x80072321","message":"Combined execution time of incoming requests exceeded limit of '
    b"1,200,000 milliseconds over time window of 300 seconds. Decrease number of concurrent requests or reduce the "
    b'duration of requests and try again later."}}'
)


def get() -> Request:
    return Request("GET", URL + "WhoAmI")


def refusal(seconds: int) -> Response:
    return Response(429, (("Retry-After", str(seconds)), ("Set-Cookie", "ARRAffinity=abc;Path=/")), TIME_REFUSAL)


def test_a_refusal_is_read_with_its_facet_number_and_time() -> None:
    feedback = feedback_of(refusal(37))
    assert feedback.facet is Facet.TIME
    assert feedback.retry_after == 37
    assert feedback.number == 1200
    assert feedback.server == "abc"


def test_what_is_left_is_read_as_the_service_writes_it() -> None:
    headers = (
        ("x-ms-ratelimit-burst-remaining-xrm-requests", "5998"),
        ("x-ms-ratelimit-time-remaining-xrm-requests", "1,199.42"),
        ("Set-Cookie", "ReqClientId=1; path=/"),
        ("Set-Cookie", "ARRAffinity=f00d;Path=/;HttpOnly"),
    )
    feedback = feedback_of(Response(200, headers))
    assert (feedback.requests_left, feedback.seconds_left) == (5998, 1199.42)
    assert feedback.server == "f00d"
    assert feedback.ok


def test_a_batch_weighs_as_many_parts_as_it_has_change_sets() -> None:
    inner = b"--x_1\r\nContent-ID: 1\r\n\r\nPOST /a HTTP/1.1\r\n\r\n{}\r\n--x_1--\r\n"
    body = b"--batch_7\r\n" + inner + b"--batch_7\r\n" + inner + b"--batch_7--\r\n"
    request = Request("POST", URL + "$batch", {"content-type": 'multipart/mixed; boundary="batch_7"'}, body)
    assert weigh(request) == (WRITES, 2)
    assert weigh(get()) == ("read", 1)
    assert weigh(Request("POST", URL + "WinOpportunity", {"content-type": "application/json"}, b"{}")) == ("write", 1)


def test_after_a_refusal_nobody_sends_before_its_time() -> None:
    clock, sent = VirtualClock(), list[float]()

    def service(_request: Request) -> Response:
        sent.append(clock.monotonic())
        return refusal(90) if len(sent) == 1 else Response(204)

    gate = Gate(service, clock)
    assert gate(get()).status == 429
    assert gate.pace().binding is Binding.WAITING
    assert gate(get()).status == 204
    assert sent == [0.0, pytest.approx(90.0)]


def test_requests_are_steered_evenly_over_the_servers_that_showed_up() -> None:
    clock, used = VirtualClock(), dict[str, int]()
    turn = iter(range(10_000))

    def service(request: Request) -> Response:
        clock.advance(0.05)
        cookie = request.header("cookie")
        server = cookie.partition("=")[2].partition(";")[0] if cookie else f"s{next(turn) % 3}"
        used[server] = used.get(server, 0) + 1
        return Response(204, (("Set-Cookie", f"ARRAffinity={server};Path=/"),))

    gate = Gate(service, clock)
    for _ in range(600):
        gate(get())
    assert gate.pace().servers == 3
    assert max(used.values()) - min(used.values()) < 30


def test_a_server_that_is_gone_is_forgotten() -> None:
    clock, alive = VirtualClock(), ["a", "b"]
    turn = iter(range(10_000))

    def service(request: Request) -> Response:
        clock.advance(0.05)
        wanted = (request.header("cookie") or "=").partition("=")[2].partition(";")[0]
        server = wanted if wanted in alive else alive[next(turn) % len(alive)]
        return Response(204, (("Set-Cookie", f"ARRAffinity={server};Path=/"),))

    gate = Gate(service, clock)
    for _ in range(100):
        gate(get())
    assert gate.pace().servers == 2
    alive.remove("b")
    for _ in range(100):
        gate(get())
    assert gate.pace().servers == 1


def test_a_failure_passes_through_and_gives_the_slot_back() -> None:
    def service(_request: Request) -> Response:
        raise Unanswered("Nothing came back.")

    gate = Gate(service, VirtualClock())
    for _ in range(20):
        with pytest.raises(Unanswered):
            gate(get())
    assert gate.pace().in_flight == 0


def test_never_more_are_in_flight_than_allowed_and_all_get_through() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def service(_request: Request) -> Response:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
        return Response(204)

    gate = Gate(service, SystemClock())
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: gate(get()).status, range(40)))
    assert answers == [204] * 40
    assert most <= gate.pace().most_in_flight


def test_a_closed_gate_turns_away_what_was_not_sent() -> None:
    clock = SystemClock()
    gate = Gate(lambda _request: refusal(600), clock)
    gate(get())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gate, get())
        gate.close()
        with pytest.raises(NotSent) as turned_away:
            waiting.result(timeout=120)
    assert turned_away.value.message == "The run is stopping; this request was not sent."
    assert turned_away.value.remedy == "Resume the job."


def batch_of_writes() -> Request:
    body = b"--b\r\n\r\nPOST /api/data/v9.2/WinOpportunity HTTP/1.1\r\n--b--"
    return Request("POST", URL + "$batch", {"content-type": "multipart/mixed; boundary=b"}, body)


def test_through_a_closed_gate_go_only_reads_that_need_not_wait_for_long() -> None:
    clock = VirtualClock()
    gate = Gate(lambda _request: Response(204), clock, Budget(requests=3))
    gate.close()
    with pytest.raises(NotSent, match="this request was not sent"):
        gate(batch_of_writes())
    assert [gate(get()).status, gate(get()).status] == [204, 204]
    gate.open()
    assert gate(batch_of_writes()).status == 204
    gate.close()
    before = clock.monotonic()
    with pytest.raises(NotSent, match="this request was not sent"):
        gate(get())
    assert 2 <= clock.monotonic() - before <= 4, "the window, which is full, opens much later"


def test_what_was_refused_waits_as_told_but_not_longer_than_until_the_gate_closes() -> None:
    clock = VirtualClock()
    gate = Gate(lambda _request: Response(204), clock)
    gate.sleep(30.0)
    gate.close()
    with pytest.raises(NotSent, match="this request was not sent"):
        gate.sleep(300.0)
    assert clock.monotonic() == pytest.approx(30.0)


def test_at_a_stop_nothing_is_sent_again_and_again_without_a_pause() -> None:
    clock, sent = VirtualClock(), list[Request]()

    def down(request: Request) -> Response:
        sent.append(request)
        gate.close()
        return Response(503)

    gate = Gate(down, clock)
    with pytest.raises(NotSent, match="this request was not sent"):
        retry(gate, sleep=gate.sleep, chance=Random(1), policy=RetryPolicy())(get())
    assert (len(sent), clock.monotonic()) == (1, 0.0)


@pytest.mark.parametrize("code", ["0x80072322", "0x80072321", "0x80072326"], ids=["count", "time", "concurrency"])
def test_when_the_time_told_is_over_one_request_goes_whatever_we_think_is_left(code: str) -> None:
    """Somebody else may have used up what we thought was left, but the service said when it takes the next one."""
    clock, sent = VirtualClock(), list[float]()
    message = "Exceeded the limit of 6000 over time window of 300 seconds."
    busy = Response(
        429, (("Retry-After", "2"),), b'{"error":{"code":"%s","message":"%s"}}' % (code.encode(), message.encode())
    )

    def service(_: Request) -> Response:
        sent.append(clock.monotonic())
        return busy if len(sent) < 4 else Response(200)

    gate = Gate(service, clock)
    assert [gate(get()).status for _ in range(4)] == [429, 429, 429, 200]
    assert sent[1] == pytest.approx(2), "at first exactly as told"
    gaps = [later - earlier - 2 for earlier, later in pairwise(sent[1:])]
    assert 5 <= gaps[0] <= 10 <= gaps[1] <= 20, "refused again, it stays away longer each time"


@pytest.mark.parametrize("longest", [0.0, 5.0])
def test_who_may_not_wait_that_long_gets_the_refusal_again_and_nothing_is_sent(longest: float) -> None:
    clock, sent = VirtualClock(), list[float]()

    def service(_request: Request) -> Response:
        sent.append(clock.monotonic())
        return refusal(40) if len(sent) == 1 else Response(204)

    gate = Gate(service, clock, longest_wait=longest)
    assert gate(get()).status == 429
    clock.advance(10)
    again = gate(get())
    assert (again.status, again.header("retry-after"), again.body) == (429, "30", TIME_REFUSAL)
    clock.advance(30 - longest)
    assert gate(get()).status == 204
    assert sent == [0.0, pytest.approx(40.0)]


def test_a_wait_is_slept_off_in_naps_up_to_its_very_end() -> None:
    class Sleeper(VirtualClock):
        naps: ClassVar[list[float]] = []

        def sleep(self, seconds: float) -> None:
            self.naps.append(seconds)
            super().sleep(seconds)

    answers = iter((refusal(90), Response(204)))
    gate = Gate(lambda _request: next(answers), Sleeper())
    gate(get())
    gate(get())
    assert sum(Sleeper.naps) == pytest.approx(90.0)
    assert all(0 < nap <= 0.5 for nap in Sleeper.naps)


def test_a_busy_service_is_told_of_again_too() -> None:
    clock = VirtualClock()
    gate = Gate(lambda _request: Response(503, (("Retry-After", "60"),), b"busy"), clock, longest_wait=0)
    assert gate(get()).status == 503
    assert gate(get()) == Response(503, (("Retry-After", "60"),), b"busy")


def test_one_connection_means_one_request_in_flight() -> None:
    assert Gate(lambda _request: Response(204), VirtualClock(), connections=1).pace().most_in_flight == 1


def test_a_request_that_never_left_counts_as_nothing_used() -> None:
    def unreachable(_request: Request) -> Response:
        raise NotSent("There is no way.")

    gate = Gate(unreachable, VirtualClock())
    with pytest.raises(NotSent):
        gate(get())
    pace = gate.pace()
    assert (pace.in_flight, pace.executed, gate.carried_over()["sent"]) == (0, 0.0, (0.0,) * 30)


def test_the_next_gate_of_a_user_begins_with_what_this_one_learnt() -> None:
    clock = VirtualClock()
    old, new = Gate(lambda _request: refusal(90), clock), Gate(lambda _request: Response(204), clock)
    old(get())
    clock.advance(20)
    new.begin_with(old.carried_over(), 5.0)
    assert new.pace().waiting == pytest.approx(65.0)
    new.begin_with({"of": "another version"}, 5.0)
    assert new.pace().waiting == pytest.approx(65.0)


def test_what_was_left_in_the_future_counts_as_left_now() -> None:
    old, new = Gate(lambda _request: refusal(90), VirtualClock()), Gate(get_through, VirtualClock())
    old(get())
    new.begin_with(old.carried_over(), -1000.0)
    assert new.pace().waiting == pytest.approx(90.0)


def get_through(_request: Request) -> Response:
    return Response(204)


def test_a_gate_foresees_the_end_and_says_how_much_a_batch_carries() -> None:
    gate = Gate(get_through, VirtualClock())
    assert gate.seconds_for(100, 0.0, 2.0) == pytest.approx(50.0)
    assert gate.parts() == 6, "two seconds of what a part is taken to cost"
    assert gate.width() == 51


class Asked(SystemClock):
    """A clock that tells when it is asked: a gate asks it before it lets a request go or wait, in one and the same hold."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def monotonic(self) -> float:
        self.asked.set()
        return super().monotonic()


def test_a_request_beyond_those_that_may_be_in_flight_waits_for_an_answer() -> None:
    begun, go_on, sent, clock = threading.Semaphore(0), threading.Event(), list[int](), Asked()

    def service(_request: Request) -> Response:
        sent.append(1)
        begun.release()
        go_on.wait(120)
        return Response(204)

    gate = Gate(service, clock, connections=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gate, get())
        assert begun.acquire(timeout=120)
        clock.asked.clear()
        second = pool.submit(gate, get())
        assert clock.asked.wait(120)  # the gate takes no answer in before the second one waits
        assert len(sent) == 1
        go_on.set()
        assert (first.result(120).status, second.result(120).status, len(sent)) == (204, 204, 2)


def test_a_refusal_without_a_number_or_with_one_that_is_none_is_read_all_the_same() -> None:
    said = b'{"error":{"code":"0x80072322","message":"Number of requests exceeded the limit of ,. today."}}'
    feedback = feedback_of(Response(429, (), said))
    assert (feedback.facet, feedback.number, feedback.retry_after, feedback.server) == (Facet.COUNT, None, None, "")
    other = feedback_of(Response(429, (("Retry-After", "5"),), b"busy"))
    assert (other.facet, other.number, other.retry_after) == (Facet.OTHER, None, 5)
    assert not feedback_of(Response(500)).ok
    assert feedback_of(Response(499)).ok


def test_a_batch_of_reads_is_another_kind_than_one_of_writes() -> None:
    body = b"--b\r\n\r\nGET /a HTTP/1.1\r\n\r\n\r\n--b\r\n\r\nGET /b HTTP/1.1\r\n\r\n\r\n--b--\r\n"
    assert weigh(Request("POST", URL + "$batch", {"content-type": "multipart/mixed; boundary=b"}, body)) == (
        "batch of reads",
        2,
    )
    assert weigh(Request("POST", URL + "$batch", {"content-type": "multipart/mixed; boundary=b"}, b"")) == (WRITES, 1)


def test_the_cookie_that_chooses_a_server_is_sent_with_it() -> None:
    sent = list[str | None]()

    def service(request: Request) -> Response:
        sent.append(request.header("cookie"))
        return Response(204, (("set-cookie", " ArrAffinitySameSite=no;"), ("set-cookie", f"ARRAffinity=s{len(sent)};")))

    gate = Gate(service, VirtualClock())
    for _ in range(4):
        gate(get())
    assert sent == [None, None, "ARRAffinity=s2; ARRAffinitySameSite=s2", None]


def test_a_gate_is_told_how_much_is_left_to_do() -> None:
    clock = VirtualClock()
    gate = Gate(get_through, clock)
    gate(get())
    clock.advance(305)
    gate(get())  # what was used has come back: from now on it is spent evenly
    gate.expect(1000)
    sent = clock.monotonic()
    for _ in range(10):
        gate(get())
    assert clock.monotonic() == sent, "all of it fits into what is left"


def test_what_is_left_to_do_costs_what_writes_cost() -> None:
    clock, pace = VirtualClock(), 8.0

    def service(_request: Request) -> Response:
        clock.advance(pace)
        return Response(204)

    gate = Gate(service, clock)
    write = Request(
        "POST", URL + "$batch", {"content-type": "multipart/mixed; boundary=b"}, b"--b\r\nPOST /a\r\n--b--\r\n"
    )
    gate(write)
    pace = 0.0
    clock.advance(192)
    gate(write)
    clock.advance(200)  # the first has left the window, the second has not
    gate.expect(3000)
    sent = clock.monotonic()
    for _ in range(10):
        gate(write)
    assert clock.monotonic() > sent, "three thousand writes of some seconds do not fit into four windows"


def test_a_batch_of_writes_costs_by_its_parts_and_is_told_of_as_such() -> None:
    clock = VirtualClock()

    def service(_request: Request) -> Response:
        clock.advance(8.0)
        return Response(200, (("Set-Cookie", "ARRAffinity=a;"),))

    gate = Gate(service, clock)
    body = b"--b\r\nPOST /a\r\n" * 4 + b"--b--\r\n"
    for _ in range(8):
        gate(Request("POST", URL + "$batch", {"content-type": "multipart/mixed; boundary=b"}, body))
    assert gate.pace().seconds_per_part == pytest.approx(2.0)
    assert gate.parts() == 1
    assert gate.pace().ceiling == pytest.approx(1200 / 300 / 2.0)


def test_writes_that_cost_little_go_several_in_a_batch_where_many_wait() -> None:
    clock = VirtualClock()

    def service(_request: Request) -> Response:
        clock.advance(0.02)
        return Response(204)

    gate = Gate(service, clock)
    header = {"content-type": "multipart/mixed; boundary=b"}
    for _ in range(8):
        gate(Request("POST", URL + "$batch", header, b"--b\r\nPOST /a\r\n--b--\r\n"))
    assert gate.fewest_parts(100) == 1
    assert gate.fewest_parts(24_000) > 1


def test_answers_that_are_lost_are_failures_of_the_service() -> None:
    def silent(_request: Request) -> Response:
        raise Unanswered("Nothing came back.")

    gate = Gate(silent, VirtualClock())
    for _ in range(3):
        with pytest.raises(Unanswered):
            gate(get())
    assert gate.pace().most_in_flight == 8


@pytest.mark.parametrize(("code", "number"), [("0x80072322", 6000.0), ("0x80072321", 6.0), ("0x80072326", 6000.0)])
def test_the_number_of_a_refusal_is_in_requests_or_in_milliseconds(code: str, number: float) -> None:
    body = b'{"error":{"code":"%s","message":"It exceeded the limit of 6,000."}}' % code.encode()
    assert feedback_of(Response(429, (), body)).number == number
