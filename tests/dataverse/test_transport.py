"""The transport against real sockets and real TLS: what was sent, what was not, and what is not known."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from connector.dataverse.transport import Network, Transport, bypasses_proxy
from connector.emulator.http.tls import Certificates, certificates
from connector.errors import Effect, NotSent, Unanswered
from connector.handler import Request

Conversation = Callable[[ssl.SSLSocket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


def head(connection: socket.socket) -> bytes:
    """Read one request, its body included when it announces one."""
    received = b""
    while True:
        top, end, body = received.partition(b"\r\n\r\n")
        announced = re.search(rb"content-length: (\d+)", top, re.IGNORECASE)
        if end and len(body) >= int(announced[1] if announced else 0):
            return received
        part = connection.recv(65536)
        if not part:
            return received
        received += part


def reset(connection: socket.socket) -> None:
    """Make the close of `connection` a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class TlsServer:
    """Holds each connection's conversation as it is told, over real TLS, and remembers what it was sent."""

    def __init__(self, trusted: Certificates, conversation: Conversation) -> None:
        self._context = trusted.server_context()
        self._conversation = conversation
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._hold, args=(plain,), daemon=True).start()

    def _hold(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            plain.settimeout(120)
            with self._context.wrap_socket(plain, server_side=True) as secured:
                self._conversation(secured)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve(trusted: Certificates) -> Iterator[Callable[[Conversation], TlsServer]]:
    servers: list[TlsServer] = []

    def start(conversation: Conversation) -> TlsServer:
        servers.append(TlsServer(trusted, conversation))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def transport(trusted: Certificates) -> Iterator[Transport]:
    made = Transport(Network(ca_file=trusted.authority, connect_timeout=60, read_timeout=60))
    yield made
    made.close()


def answering(*answers: bytes) -> Conversation:
    def conversation(connection: ssl.SSLSocket) -> None:
        for answer in answers:
            if not head(connection):
                return
            connection.sendall(answer)

    return conversation


def test_an_answer_comes_back_whole(serve: Callable[[Conversation], TlsServer], transport: Transport) -> None:
    packed = zlib.compressobj(wbits=31)
    body = packed.compress(b'{"name":"\xc3\xa9"}') + packed.flush()
    head_line = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    server = serve(answering(head_line + b"Content-Length: %d\r\n\r\n" % len(body) + body))
    response = transport(Request("GET", f"{server.url}/api"))
    assert response.status == 200
    assert response.body == b'{"name":"\xc3\xa9"}'
    assert [value for name, value in response.headers if name == "Set-Cookie"] == ["a=1", "b=2"]


def test_the_certificate_authorities_are_read_once_for_all_connections(
    serve: Callable[[Conversation], TlsServer], trusted: Certificates, tmp_path: Path
) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(trusted.authority.read_bytes())
    transport = Transport(Network(ca_file=authorities))
    assert transport(Request("GET", serve(answering(OK)).url)).status == 200
    authorities.unlink()
    assert transport(Request("GET", serve(answering(OK)).url)).status == 200
    transport.close()


def test_a_connection_is_used_again_and_carries_no_cookies(
    serve: Callable[[Conversation], TlsServer], transport: Transport
) -> None:
    seen: list[bytes] = []

    def conversation(connection: ssl.SSLSocket) -> None:
        while request := head(connection):
            seen.append(request)
            connection.sendall(b"HTTP/1.1 204 No Content\r\nSet-Cookie: ARRAffinity=one; path=/\r\n\r\n")

    server = serve(conversation)
    for _ in range(3):
        transport(Request("GET", f"{server.url}/api", {"accept": "application/json"}))
    assert server.connections == 1
    assert len(seen) == 3
    assert not any(b"cookie" in request.lower() for request in seen)


def test_what_is_sent_is_what_was_asked(serve: Callable[[Conversation], TlsServer], transport: Transport) -> None:
    seen: list[bytes] = []

    def conversation(connection: ssl.SSLSocket) -> None:
        seen.append(head(connection))
        connection.sendall(OK)

    server = serve(conversation)
    url = f"{server.url}/api/data/v9.2/quotes?$filter=name%20eq%20'a%2Fb'&$skiptoken=%253Ccookie%253E"
    transport(Request("POST", url, {"content-type": "application/json"}, b'{"a":1}'))
    assert seen[0].startswith(
        b"POST /api/data/v9.2/quotes?$filter=name%20eq%20'a%2Fb'&$skiptoken=%253Ccookie%253E HTTP/1.1\r\n"
    )
    assert b"\r\ncontent-length: 7\r\n" in seen[0].lower()
    assert b"chunked" not in seen[0].lower()


def test_a_redirect_is_returned_and_not_followed(
    serve: Callable[[Conversation], TlsServer], transport: Transport
) -> None:
    server = serve(answering(b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n"))
    assert transport(Request("GET", server.url + "/")).status == 302


def after_the_request(act: Callable[[ssl.SSLSocket], object]) -> Conversation:
    def conversation(connection: ssl.SSLSocket) -> None:
        head(connection)
        act(connection)

    return conversation


def close(_: ssl.SSLSocket) -> None:
    """Say nothing; the connection closes in good order."""


def without_farewell(connection: ssl.SSLSocket) -> None:
    """End the TCP connection without the TLS farewell: an SSL error on our side, after the request has arrived."""
    connection.shutdown(socket.SHUT_WR)


def cut_short(connection: ssl.SSLSocket) -> None:
    """Begin a body, and reset the connection within it."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    reset(connection)


CUT: dict[str, Callable[[ssl.SSLSocket], None]] = {
    "a reset": reset,
    "a close": close,
    "an end without the farewell of TLS": without_farewell,
    "half a status line": lambda connection: connection.sendall(b"HTTP/1.1 20"),
    "a body shorter than announced": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    ),
    "chunks without an end": lambda connection: connection.sendall(
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n'
    ),
    "a piece of a length below nothing": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n"
    ),
    "a broken compression": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    ),
    "a body cut by a reset": cut_short,
}


@pytest.mark.parametrize("how", CUT)
def test_once_the_request_is_out_a_lost_answer_means_it_may_have_happened(
    serve: Callable[[Conversation], TlsServer], transport: Transport, how: str
) -> None:
    server = serve(after_the_request(CUT[how]))
    with pytest.raises(Unanswered) as failure:
        transport(Request("POST", f"{server.url}/api", body=b"{}"))
    assert failure.value.effect is Effect.UNKNOWN
    assert "look again" in str(failure.value)
    assert server.connections == 1, "a request that may have arrived is not sent again"


def test_no_answer_in_time_means_it_may_have_happened(
    serve: Callable[[Conversation], TlsServer], transport: Transport
) -> None:
    server = serve(after_the_request(lambda connection: connection.recv(1)))
    with pytest.raises(Unanswered, match="did not answer in time"):
        transport(Request("POST", f"{server.url}/api", body=b"{}", timeout=0.2))


def test_an_unknown_certificate_stops_before_anything_is_sent(serve: Callable[[Conversation], TlsServer]) -> None:
    seen: list[bytes] = []
    server = serve(lambda connection: seen.append(head(connection)))
    with pytest.raises(NotSent, match="DATAVERSE_CA_FILE") as failure:
        Transport(Network())(Request("POST", f"{server.url}/api", body=b"{}"))
    assert not failure.value.transient
    assert not any(seen)


def test_an_environment_variable_does_not_change_whom_to_trust(
    serve: Callable[[Conversation], TlsServer], transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import certifi

    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, certifi.where())
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine localhost login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve(answering(OK))
    assert transport(Request("GET", server.url + "/")).status == 200


def test_a_server_that_breaks_the_handshake_got_nothing(trusted: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)

        threading.Thread(target=hang_up, daemon=True).start()
        url = f"https://localhost:{listener.getsockname()[1]}/"
        with pytest.raises(NotSent, match="TLS"):
            Transport(Network(ca_file=trusted.authority))(Request("POST", url, body=b"{}"))


def test_a_server_that_never_shakes_hands_got_nothing(trusted: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://localhost:{listener.getsockname()[1]}/"
        with pytest.raises(NotSent, match="in time"):
            Transport(Network(ca_file=trusted.authority, connect_timeout=0.2))(Request("POST", url, body=b"{}"))


def test_a_closed_port_and_an_unknown_name_are_told_apart(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent, match="refused"):
        transport(Request("GET", f"https://localhost:{port}/"))
    with pytest.raises(NotSent, match=r"not known.*DATAVERSE_URL"):
        transport(Request("GET", "https://no-such-host.invalid/"))


def test_a_proxy_that_says_no_is_named(trusted: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                head(connection)
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        network = Network(ca_file=trusted.authority, proxy=f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(NotSent, match="DATAVERSE_PROXY"):
            Transport(network)(Request("GET", "https://contoso.crm4.dynamics.com/"))


def test_through_a_proxy_the_certificate_is_still_the_hosts_own(
    serve: Callable[[Conversation], TlsServer], trusted: Certificates
) -> None:
    """The tunnel leads to a server whose certificate is for localhost: not the host that was asked for."""
    asked: list[bytes] = []
    target = serve(answering(OK))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def tunnel() -> None:
            inward, _ = listener.accept()
            asked.append(head(inward))
            outward = socket.create_connection(("127.0.0.1", int(target.url.rpartition(":")[2])))
            inward.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with inward, outward:
                back = threading.Thread(target=pump, args=(outward, inward), daemon=True)
                back.start()
                pump(inward, outward)
                back.join()

        threading.Thread(target=tunnel, daemon=True).start()
        network = Network(ca_file=trusted.authority, proxy=f"http://u:p@127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(NotSent, match="not trusted"):
            Transport(network)(Request("GET", "https://contoso.crm4.dynamics.com/"))
    assert asked[0].startswith(b"CONNECT contoso.crm4.dynamics.com:443 HTTP/1")
    assert b"Proxy-Authorization: Basic dTpw" in asked[0]


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotSent, match="DATAVERSE_CA_FILE"):
        Transport(Network(ca_file=tmp_path / "gone.pem"))(Request("GET", "https://localhost:9/"))


class Fixed(BaseAdapter):
    """Answers everything with one status, as an embedded organization would: without a network."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status, self.closed = status, False

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer._content, answer.request = self.status, b"", request
        answer.raw = HTTPResponse(io.BytesIO(), status=self.status, preload_content=False)
        return answer

    def close(self) -> None:
        self.closed = True


def test_a_mounted_adapter_answers_for_its_prefix_and_the_longest_wins() -> None:
    short, long = Fixed(200), Fixed(204)
    transport = Transport(Network(), {"https://org.invalid/": short, "https://org.invalid/api/": long})
    assert transport(Request("GET", "https://org.invalid/x")).status == 200
    assert transport(Request("GET", "https://org.invalid/api/x")).status == 204
    transport.close()
    assert short.closed
    assert long.closed


@responses.activate
def test_what_mocks_requests_mocks_this_transport() -> None:
    url = "https://contoso.crm4.dynamics.com/api/data/v9.2/WhoAmI"
    responses.get(url, json={"UserId": "x"}, headers={"REQ_ID": "one"})
    response = Transport(Network())(Request("GET", url, {"accept": "application/json"}))
    assert response.status == 200
    assert response.header("req_id") == "one"
    assert responses.calls[0].request.headers["Accept"] == "application/json"


@responses.activate
def test_a_failure_is_not_mistaken_for_the_one_before_it() -> None:
    """A lost answer while an earlier refusal is being handled stays a lost answer."""
    url = "https://contoso.crm4.dynamics.com/x"
    responses.post(url, body=requests.ConnectionError("reset"))
    transport = Transport(Network())
    try:
        transport(Request("GET", "https://localhost:1/"))
    except NotSent:
        with pytest.raises(Unanswered):
            transport(Request("POST", url, body=b"{}"))
    except Unanswered:
        pass


def test_nothing_of_a_request_is_logged_by_the_transport(
    serve: Callable[[Conversation], TlsServer], transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(answering(OK))
    with caplog.at_level(logging.INFO):
        transport(Request("POST", f"{server.url}/", {"authorization": "Bearer secret-token"}, b"customer"))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("host", "rules"),
    [
        ("localhost", ""),
        ("127.0.0.1", ""),
        ("169.254.169.254", ""),
        ("a.example.com", "example.com"),
        ("a.example.com", " .example.com , other"),
        ("a.example.com", "*.example.com"),
        ("example.com", "example.com:443"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3"),
        ("anything", "*"),
    ],
)
def test_hosts_that_need_no_proxy_go_direct(host: str, rules: str) -> None:
    assert bypasses_proxy(host, None, rules)


@pytest.mark.parametrize(
    ("host", "rules"),
    [
        ("notexample.com", "example.com"),
        ("example.com", "example.com:8443"),
        ("example.com", "a.example.com"),
        ("11.1.2.3", "10.0.0.0/8"),
        ("example.com", " , ,"),
    ],
)
def test_other_hosts_go_through_the_proxy(host: str, rules: str) -> None:
    assert not bypasses_proxy(host, None, rules)


@given(st.text(), st.text())
def test_no_list_of_hosts_makes_the_question_fail(host: str, rules: str) -> None:
    assert bypasses_proxy(host, None, rules) in (True, False)
