"""The tenant's signing key, made or loaded in the background so that nothing waits for it but the first token."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.emulator.identity.jwt import SigningKey


class Keys:
    """Gives the signing key, waiting for it only when asked too early. One may serve many emulators.

    Nothing is made before `begin` or the first question: making the key would compete with the rest of a start.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._key: SigningKey | None = None
        self._failure: OSError | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Load or make the key in the background, if that has not begun yet."""
        with self._lock:
            if self._thread is None:
                # No daemon: one that makes a key while Python ends takes the whole process down with SIGABRT.
                self._thread = threading.Thread(target=self._load, name="signing-key")
                self._thread.start()

    def signing(self) -> SigningKey:
        """Return the key; raises OSError when the kept one cannot be read or written."""
        if self._key is None:
            self.begin()
            self.wait()
            if self._failure is not None:
                raise self._failure
        assert self._key is not None
        return self._key

    def wait(self) -> None:
        """Return when no key is being made."""
        if self._thread is not None:
            self._thread.join()

    def _load(self) -> None:
        from connector.emulator.identity.jwt import SigningKey

        try:
            self._key = SigningKey.kept(self._path)
        except OSError as failure:
            self._failure = failure
