"""A network of one's own: an organization under a name that only a proxy knows, and proxies of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from connector.clock import SystemClock
from connector.emulator.core import Emulator
from connector.emulator.http.server import Server, listening
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.open_organization import TravelClock

NAME = "org.emulator.test"
"""Known to no name server: whoever reaches it came through a proxy."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: what trusts it, and what it has signed."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def context(self, folder: Path, *names: str, until: datetime | None = None) -> ssl.SSLContext:
        """Return what a server under these names needs; the certificate ends in a day, or `until` then."""
        key = ec.generate_private_key(ec.SECP256R1())
        found = [_general(name) for name in names]
        builder = _builder(names[0], self.certificate.subject, key, until)
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        chain = folder / f"{names[0]}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def new_authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(name, subject, key, None)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    usage |= {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
    builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    return Authority(key, builder.sign(key, hashes.SHA256()))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime | None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, until or now) - timedelta(days=2))
        .not_valid_after(until or now + timedelta(days=1))
    )


@dataclass(frozen=True, slots=True)
class FarOrganization:
    """An emulated organization at `https://org.emulator.test:PORT`, which only a proxy finds."""

    emulator: Emulator
    url: str
    port: int


@contextmanager
def far_organization(context: ssl.SSLContext, keys: Keys) -> Iterator[FarOrganization]:
    sock = listening("127.0.0.1", 0)
    port = sock.getsockname()[1]
    origin = f"https://{NAME}:{port}"
    emulator = Emulator(
        replace(EmulatorOptions(seeded=30), url=origin, login_url=origin), TravelClock(SystemClock()), keys
    )
    loop = asyncio.new_event_loop()
    server = Server(emulator, origin, context)
    thread = threading.Thread(target=loop.run_forever, name="far organization", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(sock), loop).result(60)
        yield FarOrganization(emulator, origin, port)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
        sock.close()
        emulator.close()


class Proxy:
    """A proxy on this machine; `refusal` answers every CONNECT, `password` is wanted, `context` makes it speak TLS."""

    def __init__(self, refusal: bytes = b"", password: str = "", context: ssl.SSLContext | None = None) -> None:
        self._refusal, self._password, self._context = refusal, password, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            if self._context is None:
                self._answer(plain)
            else:
                with self._context.wrap_socket(plain, server_side=True) as secret:
                    self._answer(secret)

    def _answer(self, inward: socket.socket) -> None:
        head = _head(inward)
        self.asked.append(head.partition("\r\n")[0])
        wanted = f"Proxy-Authorization: Basic {self._password}"
        if self._password and wanted.lower() not in head.lower():
            inward.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif self._refusal:
            inward.sendall(self._refusal)
        else:
            self._tunnel(inward, int(re.match(rf"CONNECT {re.escape(NAME)}:(\d+) ", head)[1]))  # type: ignore[index]

    def _tunnel(self, inward: socket.socket, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as outward:
            inward.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(outward, inward), daemon=True)
            back.start()
            _pump(inward, outward)
            back.join(60)


def _head(connection: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received and (part := connection.recv(65536)):
        received += part
    return received.decode("latin-1")


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
