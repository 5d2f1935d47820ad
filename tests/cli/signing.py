"""Emulated tenants with all that can sign in to them, and the credentials that go with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.issuer import Federation, Tenant, local_tenant
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions

TABLES = ("opportunity", "quote", "opportunityclose", "quoteclose")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, of which the application may know."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def public(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def pem(self, path: Path, password: str = "") -> Path:
        protection = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
        path.write_bytes(private + self.public.encode())
        return path

    def pfx(self, path: Path, password: str = "") -> Path:
        protection = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        path.write_bytes(pkcs12.serialize_key_and_certificates(b"one", self.key, self.certificate, None, protection))
        return path


def new_certificate() -> Certificate:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "close connector")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return Certificate(key, builder.sign(key, hashes.SHA256()))


def tenant_with(certificate: Certificate) -> Tenant:
    """A tenant whose application signs in by secret, by this certificate and by its managed identity's assertion."""
    tenant = local_tenant()
    application = tenant.applications[0]
    able = replace(application, certificates=(certificate.public,), federations=(Federation(application.object_id),))
    return replace(tenant, applications=(able,), device_interval=1)


@contextmanager
def organization_of(tenant: Tenant, folder: Path, seeded: int = 60) -> Iterator[ServedEmulator]:
    with served(EmulatorOptions(tenant=tenant, seeded=seeded), SystemClock(), folder, Keys()) as emulator:
        yield emulator


def place(emulator: ServedEmulator) -> dict[str, str]:
    """The settings that say where the organization is and whom to trust, but not how to sign in."""
    return {"DATAVERSE_URL": emulator.url, "DATAVERSE_CA_FILE": str(emulator.ca_file)}


def by_secret(emulator: ServedEmulator) -> dict[str, str]:
    return {
        **place(emulator),
        "DATAVERSE_CLIENT_ID": emulator.client_id,
        "DATAVERSE_CLIENT_SECRET": emulator.client_secret,
    }


def rows(emulator: ServedEmulator) -> dict[str, list[Any]]:
    """Everything that a close can touch."""
    store = emulator.emulator.organization.store
    return {table: sorted(map(str, store.rows(f'SELECT * FROM "{table}"'))) for table in TABLES}


def an_open_opportunity(emulator: ServedEmulator) -> str:
    """The first open opportunity that has a draft quote."""
    (found, *_) = emulator.emulator.organization.store.rows(
        "SELECT o.opportunityid FROM opportunity o JOIN quote q USING (opportunityid) WHERE o.statecode = 0 "
        "GROUP BY 1 HAVING total(q.statecode = 0) > 0 ORDER BY 1"
    )
    return str(found[0])


def is_won(emulator: ServedEmulator, opportunity: str) -> bool:
    store = emulator.emulator.organization.store
    states = list(store.rows("SELECT statecode FROM opportunity WHERE opportunityid = ?", (opportunity,)))
    open_quotes = list(
        store.rows("SELECT 1 FROM quote WHERE opportunityid = ? AND statecode IN (0, 1)", (opportunity,))
    )
    return [tuple(row) for row in states] == [(1,)] and not open_quotes
