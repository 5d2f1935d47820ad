"""Writes files that hold secrets: readable by their owner only, whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
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
