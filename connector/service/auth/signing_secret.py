"""The endpoint's secret in a file beside its store: written whole or not at all, and never too short to be one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from connector.errors import SettingsError

LENGTH = 32
"""Bytes of a secret that is made here, and of the shortest that is accepted."""


def kept_secret(path: Path) -> bytes:
    """Return the secret in the file at `path`, which is made if need be, for its owner's eyes. Raises SettingsError.

    Several processes may begin side by side: one secret is kept, and all of them use it.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _keep(path, secrets.token_bytes(LENGTH))
        secret = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The endpoint's secret cannot be kept in {path}: {error.strerror or type(error).__name__}.",
            remedy="Make room, set CONNECTOR_SERVICE_SECRET, or set CONNECTOR_STORE to a file in a folder that can be "
            "written.",
        ) from error
    if len(secret) < LENGTH:
        raise SettingsError(
            f"The endpoint's secret in {path} has {len(secret)} bytes; it must have at least {LENGTH}, or links could "
            "be forged.",
            remedy="Delete the file: a new secret is made at the next start, and links given out before end.",
        )
    return secret


def _keep(path: Path, secret: bytes) -> None:
    """Write the secret beside its place and link it there: whoever comes second leaves the first one's in place."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return
        except OSError:  # some file systems have no links
            if not path.exists():
                beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
