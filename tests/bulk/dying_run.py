"""`connector ARGUMENTS`, ended as by `kill -9` around one of its commits to the job store.

The first argument says which: `3` is right after the third commit, `-3` right before it.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from connector.cli import main
from connector.ledger.sqlite import SqliteDatabase, SqliteTransaction

DEAD = 137
"""The exit code of a process that SIGKILL ended, as shells have it."""


def die_at(moment: int) -> None:
    numbers = itertools.count(1)
    transaction = SqliteDatabase.transaction

    @contextmanager
    def mortal(self: SqliteDatabase) -> Iterator[SqliteTransaction]:
        with transaction(self) as open_transaction:
            yield open_transaction
            number = next(numbers)
            if number == -moment:
                os._exit(DEAD)
        if number == moment:
            os._exit(DEAD)

    SqliteDatabase.transaction = mortal  # type: ignore[method-assign]


if __name__ == "__main__":
    die_at(int(sys.argv.pop(1)))
    main()
