"""The emulator's own certificate authority and the certificate of its server, kept in private files and reused.

Both hold elliptic-curve keys and pass OpenSSL's strict X.509 checks, which Python turns on by default since 3.13. The
authority's own key is not kept: nobody can sign another certificate that its users would trust.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write `path` all at once, so that two starts never see half of it.

    Raises OSError that names the file, whatever went wrong; nothing is left behind then.
    """
    half = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        half.replace(path)
    except OSError as error:
        with suppress(OSError):  # the file may not exist
            half.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


VALID = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
NAMES = ("localhost", "127.0.0.1", "::1")
"""What a client may call the server."""


class ExtraMissing(Exception):
    """A library of the extra `emulator` is not installed; the message says which, `remedy` what to do."""

    remedy = (
        "Install the connector with the extra emulator (`connector docs administrator`), or use "
        "DATAVERSE_URL=emulator:, which needs no socket."
    )

    def __init__(self, error: ModuleNotFoundError) -> None:
        super().__init__(f"The emulator's socket needs {error.name}, which is not installed.")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the PEM files of one emulator are: the authority to trust, and the server's chain and key."""

    authority: Path
    chain: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Return the TLS settings of the server side (TLS 1.2 or newer, HTTP/1.1)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.chain, self.key)
        context.set_alpn_protocols(["http/1.1"])
        return context


def certificates(folder: Path, *, now: datetime | None = None) -> Certificates:
    """Return the certificates kept in `folder`, making them when missing, unreadable or about to expire.

    `now` is the wall-clock time that validity is counted from; clients check against theirs, so it is the machine's
    and not the emulator's. The private key files are readable by their owner only. Raises OSError when the folder
    cannot be written, ExtraMissing without trustme.
    """
    today = now if now is not None else datetime.now(UTC)
    issued = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    stamp = folder / "renew-after"
    if _current(stamp, today) and _usable(issued):
        return issued
    folder.mkdir(parents=True, exist_ok=True)
    _issue(issued, today + VALID)
    write_private(stamp, (today + VALID - RENEW_BEFORE).isoformat().encode("ascii"))
    return issued


def _issue(files: Certificates, until: datetime) -> None:
    try:
        import trustme
    except ModuleNotFoundError as error:
        raise ExtraMissing(error) from error
    authority = trustme.CA(organization_name="Dataverse emulator", organization_unit_name="local authority")
    server = authority.issue_cert(*NAMES, common_name=NAMES[0], not_after=until)
    write_private(files.key, server.private_key_pem.bytes())
    write_private(files.chain, b"".join(pem.bytes() for pem in server.cert_chain_pems))
    write_private(files.authority, authority.cert_pem.bytes())


def _current(stamp: Path, today: datetime) -> bool:
    try:
        return today < datetime.fromisoformat(stamp.read_text(encoding="ascii").strip())
    except (FileNotFoundError, ValueError, TypeError):  # no stamp, no text, no moment, no time zone
        return False


def _usable(kept: Certificates) -> bool:
    """Return whether the files are there and are what they should be; whether they belong together is not looked at."""
    try:
        kept.server_context().load_verify_locations(kept.authority)
    except (FileNotFoundError, ssl.SSLError):
        return False
    return True
