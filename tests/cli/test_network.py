"""What people are told when the way to the organization is not clear, and the ways through proxies that are."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector.emulator.identity.issuer import CLIENT_ID, CLIENT_SECRET
from connector.emulator.identity.keys import Keys
from tests.cli.desk import Desk, Said
from tests.cli.network import NAME, Authority, FarOrganization, Proxy, far_organization, new_authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return new_authority("Test authority")


@pytest.fixture(scope="module")
def far(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarOrganization]:
    with far_organization(authority.context(tmp_path_factory.mktemp("far"), NAME), Keys()) as organization:
        yield organization


def settings(url: str, authority: Authority, folder: Path) -> dict[str, str]:
    (folder / "ca.pem").write_bytes(authority.pem)
    return {
        "DATAVERSE_URL": url,
        "DATAVERSE_CLIENT_ID": CLIENT_ID,
        "DATAVERSE_CLIENT_SECRET": CLIENT_SECRET,
        "DATAVERSE_CA_FILE": str(folder / "ca.pem"),
    }


def an_open_opportunity(far: FarOrganization) -> str:
    rows = far.emulator.organization.store.rows("SELECT opportunityid FROM opportunity WHERE statecode = 0")
    return str(next(iter(rows))[0])


def told(said: Said) -> str:
    """Return what a person is told: an error in a sentence, a remedy, and nothing else."""
    assert said.code == 1, said.out
    assert said.out in {"Failed; nothing was changed.\n", ""}
    assert "Traceback" not in said.err
    lines = said.err.splitlines()
    assert lines[0].startswith("Error: ")
    assert len(lines) == 2, said.err
    return said.err


def close(desk: Desk, opportunity: str = "00000000-0000-4000-8000-00000000002a", **environment: str) -> Said:
    return desk.run("close", opportunity, "--won", "--yes", **environment)


# -- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "DATAVERSE_PROXY"])
def test_a_close_goes_through_the_proxy_sign_in_and_all(
    desk: Desk, far: FarOrganization, authority: Authority, tmp_path: Path, name: str
) -> None:
    proxy = Proxy()
    said = close(
        desk,
        an_open_opportunity(far),
        **settings(far.url, authority, tmp_path),
        **{name: f"http://127.0.0.1:{proxy.port}"},
    )
    proxy.close()
    assert said.code == 0, said.err
    assert proxy.asked
    assert set(proxy.asked) == {f"CONNECT {NAME}:{far.port} HTTP/1.1"} or set(proxy.asked) == {
        f"CONNECT {NAME}:{far.port} HTTP/1.0"
    }


def test_a_proxy_gets_the_name_and_password_of_its_address(
    desk: Desk, far: FarOrganization, authority: Authority, tmp_path: Path
) -> None:
    proxy = Proxy(password=base64.b64encode(b"jo:pass word").decode())
    given = settings(far.url, authority, tmp_path)
    without = close(desk, **given, DATAVERSE_PROXY=f"http://127.0.0.1:{proxy.port}")
    assert "the proxy needs a user name and a password" in told(without)
    assert "http://user:password@proxy" in without.err
    wrong = close(desk, **given, DATAVERSE_PROXY=f"http://jo:guess@127.0.0.1:{proxy.port}")
    assert "guess" not in told(wrong)
    right = close(
        desk, an_open_opportunity(far), **given, DATAVERSE_PROXY=f"http://jo:pass%20word@127.0.0.1:{proxy.port}"
    )
    proxy.close()
    assert right.code == 0, right.err


def test_a_proxy_that_speaks_tls_is_trusted_by_the_same_file(
    desk: Desk, far: FarOrganization, authority: Authority, tmp_path: Path
) -> None:
    its_own = new_authority("Proxy authority")
    proxy = Proxy(context=its_own.context(tmp_path, "127.0.0.1"))
    given = settings(far.url, authority, tmp_path)
    address = f"https://127.0.0.1:{proxy.port}"
    assert "is not trusted" in told(close(desk, **given, DATAVERSE_PROXY=address))
    (tmp_path / "ca.pem").write_bytes(authority.pem + its_own.pem)
    said = close(desk, an_open_opportunity(far), **given, DATAVERSE_PROXY=address)
    proxy.close()
    assert said.code == 0, said.err


@pytest.mark.parametrize("status", ["403 Forbidden", "502 Bad Gateway"])
def test_a_proxy_that_gives_no_way_is_named_with_its_answer(
    desk: Desk, authority: Authority, tmp_path: Path, status: str
) -> None:
    proxy = Proxy(refusal=f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    given = settings(f"https://{NAME}", authority, tmp_path)
    said = told(close(desk, **given, HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}"))
    proxy.close()
    assert f"the proxy gave no way to {NAME} (it answered {status[:3]})" in said
    assert "NO_PROXY" in said


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-proxy.invalid:3128"])
def test_a_proxy_that_is_not_there_is_blamed_and_not_the_organization(
    desk: Desk, authority: Authority, tmp_path: Path, host: str
) -> None:
    said = told(close(desk, **settings(f"https://{NAME}", authority, tmp_path), HTTPS_PROXY=f"http://{host}"))
    assert f"the proxy on the way to {NAME} could not be reached" in said
    assert "HTTPS_PROXY" in said


def test_no_proxy_leads_past_it(desk: Desk, authority: Authority, tmp_path: Path) -> None:
    said = close(
        desk,
        **settings(f"https://{NAME}", authority, tmp_path),
        HTTPS_PROXY="http://127.0.0.1:9",
        NO_PROXY=".emulator.test",
    )
    assert f"the host {NAME} is not known" in told(said)


# -- trust ------------------------------------------------------------------------------------------------------------


def test_variables_of_other_programs_do_not_take_away_trust(
    desk: Desk, far: FarOrganization, authority: Authority, tmp_path: Path
) -> None:
    """REQUESTS_CA_BUNDLE silently beats the `verify` of a requests session, and MSAL's with it."""
    elsewhere = tmp_path / "elsewhere.pem"
    elsewhere.write_bytes(new_authority("Somebody else").pem)
    proxy = Proxy()
    given = settings(far.url, authority, tmp_path) | {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
    others = {"REQUESTS_CA_BUNDLE": str(elsewhere), "CURL_CA_BUNDLE": str(elsewhere), "SSL_CERT_FILE": str(elsewhere)}
    said = close(desk, an_open_opportunity(far), **given, **others)
    proxy.close()
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    "content", [b"not a certificate\n", b"\x30\x82\x01\x0a\x02\x82", b"-----BEGIN CERTIFICATE-----\nAA\n"]
)
def test_a_file_of_authorities_that_holds_none_is_named(
    desk: Desk, authority: Authority, tmp_path: Path, content: bytes
) -> None:
    given = settings("https://localhost:9", authority, tmp_path)
    listener = socket.create_server(("127.0.0.1", 0))
    given["DATAVERSE_URL"] = f"https://localhost:{listener.getsockname()[1]}"
    (tmp_path / "ca.pem").write_bytes(content)
    said = told(close(desk, **given))
    listener.close()
    assert "holds no certificate that can be read" in said
    assert "DATAVERSE_CA_FILE" in said


@pytest.mark.parametrize(
    ("names", "ends", "sentence", "remedy"),
    [
        (("another.example",), None, "is not trusted (Hostname mismatch", "DATAVERSE_URL"),
        (("localhost",), datetime.now(UTC) - timedelta(hours=1), "has expired", "this machine's clock"),
    ],
)
def test_a_certificate_that_does_not_fit_says_why(
    desk: Desk,
    authority: Authority,
    tmp_path: Path,
    names: tuple[str, ...],
    ends: datetime | None,
    sentence: str,
    remedy: str,
) -> None:
    context = authority.context(tmp_path, *names, until=ends)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_shake_hands, args=(listener, context), daemon=True).start()
        given = settings(f"https://localhost:{listener.getsockname()[1]}", authority, tmp_path)
        said = told(close(desk, **given))
    assert sentence in said
    assert remedy in said


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = listener.accept()
            with plain:
                context.wrap_socket(plain, server_side=True).close()
        except OSError:
            if listener.fileno() < 0:
                return


# -- hosts ------------------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_known_is_said(desk: Desk, authority: Authority, tmp_path: Path) -> None:
    said = told(close(desk, **settings("https://no-such-host.invalid", authority, tmp_path)))
    assert "the host no-such-host.invalid is not known" in said
    assert "DATAVERSE_URL" in said


def test_a_port_where_nobody_listens_is_said(desk: Desk, authority: Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said = told(close(desk, **settings(f"https://localhost:{port}", authority, tmp_path)))
    assert "localhost refused the connection" in said
    assert "DATAVERSE_URL" in said


def test_a_host_that_does_not_speak_tls_is_said(desk: Desk, authority: Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_speak_http, args=(listener,), daemon=True).start()
        said = told(close(desk, **settings(f"https://localhost:{listener.getsockname()[1]}", authority, tmp_path)))
    assert "no TLS connection could be made with localhost" in said
    assert "speak https" in said


def _speak_http(listener: socket.socket) -> None:
    while True:
        try:
            plain, _ = listener.accept()
            with plain:
                plain.recv(65536)
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        except OSError:
            return


def test_a_host_that_never_shakes_hands_is_said(desk: Desk, authority: Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and says nothing
        given = settings(f"https://localhost:{listener.getsockname()[1]}", authority, tmp_path)
        said = told(close(desk, **given, DATAVERSE_CONNECT_TIMEOUT="0.05"))
    assert "localhost could not be reached in time" in said
    assert "firewall" in said


def test_a_host_that_never_answers_is_said(desk: Desk, authority: Authority, tmp_path: Path) -> None:
    context = authority.context(tmp_path, "localhost")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_listen_only, args=(listener, context), daemon=True).start()
        given = settings(f"https://localhost:{listener.getsockname()[1]}", authority, tmp_path)
        said = told(close(desk, **given, DATAVERSE_READ_TIMEOUT="2"))
    assert "localhost did not answer in time" in said
    assert "DATAVERSE_READ_TIMEOUT" in said
    assert "carried out" not in said


def _listen_only(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                while connection.recv(65536):  # until whoever waits has given up
                    pass
        except OSError:
            if listener.fileno() < 0:
                return
