"""The queue that hands out turns at jobs to machines: Procrastinate, in the PostgreSQL database that holds the ledger.

A turn is one user's: for a while that user takes rows of one job from the ledger and works them off. The truth is in
the ledger alone. What the queue loses is put in again, what it has twice ends at once, and its tables may be dropped
while no machine works. `lock` keeps two turns of one user from running at the same time, wherever they run;
`queueing_lock` keeps one turn of each user at each job waiting, however often it is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from connector.errors import LedgerError

try:
    import procrastinate
    import psycopg
    from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
    from procrastinate.jobs import Status
    from procrastinate.schema import SchemaManager
except ImportError as error:
    raise LedgerError(
        "Work on many machines needs libraries that are not installed.",
        remedy="Install the connector with the extra postgres (`connector docs administrator`).",
    ) from error

SCHEMA = "connector_queue"
"""The schema of the queue's tables, beside that of the ledger."""

_TASK = "turn"
_OURS, _PREPARING = 0x636C6F73, 3  # an advisory lock beside those of the ledger
_PATH = f"-c search_path={SCHEMA}"


@dataclass(frozen=True, slots=True)
class TimeSlice:
    """A turn at `job`, by its name in the ledger, as `user`, by what names it on every machine."""

    job: str
    user: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How soon death is noticed, in seconds.

    A machine says every `heartbeat` that it lives and is dead when it has not for `stalled`. Every `look` it looks who
    else works, and puts in turns for what is to be done.
    """

    heartbeat: float = 10.0
    stalled: float = 30.0
    look: float = 5.0

    @classmethod
    def for_death_after(cls, seconds: float) -> Self:
        """Return the heartbeat with which a machine is taken for dead when nothing was heard of it for so long."""
        return cls(heartbeat=seconds / 3, stalled=seconds, look=min(5.0, seconds / 6))


Do = Callable[[TimeSlice], Awaitable[None]]


class TimeSliceQueue:
    """The queue in the database at `address`; its tables are made if need be. All methods raise LedgerError.

    Use it between `async with queue.app.open_async()`. `do` carries out a turn.
    """

    def __init__(self, address: str, do: Do) -> None:
        with sentences():
            _prepare(address)
        pool = {"options": _PATH, "application_name": "connector"}
        connector = procrastinate.PsycopgConnector(conninfo=address, min_size=1, max_size=20, kwargs=pool)
        self.app = procrastinate.App(connector=connector)

        @self.app.task(name=_TASK)
        async def turn(job: str, user: str) -> None:
            await do(TimeSlice(job, user))

    async def submit(self, turns: Iterable[TimeSlice]) -> None:
        """Put in the turns that are not waiting already."""
        with sentences():
            for turn in turns:
                queue, once = _short(turn.user), _short(f"{turn.user}\n{turn.job}")
                deferrer = self.app.configure_task(_TASK, queue=queue, lock=queue, queueing_lock=once)
                try:
                    await deferrer.defer_async(job=turn.job, user=turn.user)
                except AlreadyEnqueued:
                    continue

    async def serve(self, user: str, who: str, heartbeat: Heartbeat) -> None:
        """Carry out the turns of `user` until cancelled, one after the other; the one under way is waited for."""
        with sentences():
            await self.app.run_worker_async(
                queues=[_short(user)],
                name=who,
                concurrency=1,
                delete_jobs="always",
                install_signal_handlers=False,
                update_heartbeat_interval=heartbeat.heartbeat,
                stalled_worker_timeout=heartbeat.stalled,
            )
        raise LedgerError(
            "The connection to the queue in the job store broke off.", remedy="Check that its PostgreSQL server runs."
        )

    async def drop_stalled(self, user: str, seconds: float) -> int:
        """Take out the turns of `user` that were under way on machines not heard of for `seconds`; return how many.

        They are not run again as they are: what they left is submitted as anything else that is to be done.
        """
        with sentences():
            stalled = await self.app.job_manager.get_stalled_jobs(queue=_short(user), seconds_since_heartbeat=seconds)
            for job in stalled:
                await self.app.job_manager.finish_job(job, Status.ABORTED, delete_job=True)
        return len(list(stalled))


def _short(name: str) -> str:
    """Return what stands for a name in the queue, where names have at most 63 letters and no line ends."""
    return blake2b(name.encode(), digest_size=12).hexdigest()


@contextmanager
def sentences() -> Iterator[None]:
    """Say what went wrong with the queue to the person who must act; never the address, which may hold a password."""
    try:
        yield
    except (ConnectorException, psycopg.Error) as error:
        cause = error.__cause__ if isinstance(error, ConnectorException) and error.__cause__ else error
        message = (str(cause).strip().splitlines() or ["no reason given"])[0].rstrip(".")
        failure = LedgerError(
            f"The queue in the job store's PostgreSQL server failed: {message}.",
            remedy="Check that the server runs and that CONNECTOR_STORE is right. Nothing that was recorded is lost.",
        )
        failure.transient = not isinstance(error, psycopg.errors.InsufficientPrivilege)
        raise failure from error


def _prepare(address: str) -> None:
    """Make the tables unless they are there; only ever one process at a time."""
    version = procrastinate.__version__.rpartition(".")[0]
    with psycopg.connect(address, autocommit=True) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_OURS, _PREPARING))
        row = connection.execute(
            "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (SCHEMA,)
        ).fetchone()
        if row is None:
            connection.execute(f"CREATE SCHEMA {SCHEMA}")
            connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
            connection.execute(SchemaManager.get_schema())
            connection.execute(f"COMMENT ON SCHEMA {SCHEMA} IS 'procrastinate {version}'")
        elif row[0] != f"procrastinate {version}":
            raise LedgerError(
                f"The queue in the job store is of {row[0]}, and this machine has procrastinate {version}.",
                remedy="Install the same version on every machine. To change it, stop all workers and drop the schema "
                f"{SCHEMA}: it is made again, and holds nothing of the jobs.",
            )
