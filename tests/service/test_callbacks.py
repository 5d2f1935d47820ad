"""A close is told to a flow at its real address, over TLS: the network is this machine, seen through a proxy."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.service.messages import win_message
from tests.service.process import serving, until
from tests.service.test_process import opportunities

HOST = "prod-01.westeurope.logic.azure.com"
CALLBACK = f"https://{HOST}:443/workflows/1/triggers/2/paths/invoke?sp=%2Frun&sig=SECRETSIGNATURE"
KEY = "the-webhook-key"


@dataclass
class Internet:
    """A proxy behind which there is one host: the flow's. `told` is what the flow was told."""

    context: ssl.SSLContext
    asked: list[str] = field(default_factory=list)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._tunnel, args=(connection,), daemon=True).start()

    def _tunnel(self, connection: socket.socket) -> None:
        with connection:
            head = _head(connection)
            self.asked.append(head.split()[1])
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self.context.wrap_socket(connection, server_side=True) as tls:
                while head := _head(tls):
                    length = int(
                        next(line for line in head.lower().splitlines() if "content-length" in line).split()[1]
                    )
                    body = b""
                    while len(body) < length:
                        body += tls.recv(length - len(body))
                    self.told.append((head.split()[1], json.loads(body)))
                    status = self.answers.pop(0) if self.answers else 202
                    tls.sendall(b"HTTP/1.1 %d Answer\r\ncontent-length: 0\r\n\r\n" % status)


def _head(connection: socket.socket) -> str:
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece:
            return ""
        received += piece
    return received.decode()


@contextmanager
def internet(folder: Path) -> Iterator[tuple[Internet, dict[str, str]]]:
    """Give it, and the settings by which a process sees nothing else."""
    made = Internet(_certificate(folder))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=made.serve, args=(listening,), daemon=True).start()
        yield (
            made,
            {
                "DATAVERSE_PROXY": f"http://127.0.0.1:{listening.getsockname()[1]}",
                "DATAVERSE_CA_FILE": str(folder / "internet.pem"),
                "NO_PROXY": "",
                "no_proxy": "",
            },
        )


def _certificate(folder: Path) -> ssl.SSLContext:
    """Write a certificate of the host, its own authority, and return what presents it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The internet")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "internet.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "internet-key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "internet.pem", folder / "internet-key.pem")
    return context


def test_a_flow_that_waits_is_told_of_a_close_once_and_again_only_when_it_did_not_take_it(tmp_path: Path) -> None:
    keys = f"development:{hashlib.sha256(KEY.encode()).hexdigest()}"
    with internet(tmp_path) as (net, given), serving(tmp_path, CONNECTOR_SERVICE_WEBHOOK_KEYS=keys, **given) as process:
        opportunity = opportunities(tmp_path / "organization.db", 1)[0]
        net.answers = [503]  # the first time it is not taken
        made = process.ask("POST", "/subscriptions", {"callbackUrl": CALLBACK})
        assert made.status == 201
        closed = process.ask("POST", f"/opportunities/{opportunity}/close", {"outcome": "won"})
        assert closed.status == 200, closed.body
        headers = {"x-connector-webhook-key": KEY}
        assert process.ask("POST", "/webhooks/dataverse", win_message(UUID(opportunity)), headers).status == 200
        until(lambda: len(net.told) == 2)
        assert process.ask("DELETE", urlsplit(made.headers["location"]).path).status == 204
    assert set(net.asked) == {f"{HOST}:443"}
    (_, first), (path, second) = net.told
    assert first == second, "the same event, with the same id"
    assert path == CALLBACK.partition(":443")[2]
    assert (second["opportunityId"], second["source"]) == (opportunity, "connector")
    assert "SECRETSIGNATURE" not in process.log.read_text()
    assert not [file for file in tmp_path.glob("jobs.db*") if b"SECRETSIGNATURE" in file.read_bytes()]
