"""`connector worker` with a quick heartbeat, so that a death is noticed within seconds."""

from __future__ import annotations

import os
import signal
import sys

from connector.assembly import connect
from connector.bulk.machine import Machine
from connector.bulk.time_slices import Heartbeat
from connector.clock import SystemClock
from connector.errors import LedgerError
from connector.ledger.store import open_ledger
from connector.settings.environment import load

LEASE = 8.0  # above the five seconds after which a run says that it lives


def tell(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def main() -> None:
    settings, clock = load(), SystemClock()
    connection = connect(settings)
    with open_ledger(settings.store, clock, lease=LEASE) as ledger:
        users = [one.client_id for one in settings.identities]
        clients = {
            f"{user}@{connection.base_url}": client for user, client in zip(users, connection.clients, strict=True)
        }
        heartbeat = Heartbeat(heartbeat=1.0, stalled=5.0, look=1.0)
        machine = Machine(settings.store, ledger, connection.base_url, clients, tell=tell, heartbeat=heartbeat)
        stopped: list[bool] = []

        def stop(*_: object) -> None:
            stopped.append(True)
            machine.stop()

        signal.signal(signal.SIGTERM, stop)
        while not stopped:
            try:
                machine.work(f"worker:{os.getpid()}")
            except LedgerError as error:
                tell(str(error))
                if not error.transient:
                    raise
    connection.close()


if __name__ == "__main__":
    main()
