"""One machine's part in the work of many: which users it acts as, and the turns it takes at the jobs of the ledger.

Every machine says in the ledger which users it could act as. From that each works out the same sharing, and takes the
slots that are its own: a user is in one machine's hands at a time and stays there, so that one governor knows all that
the user has spent. A machine that dies loses its slots with its life; one that comes is given its share when the turns
under way have ended.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from connector.bulk.run.decision import ALIKE
from connector.bulk.run.paced_client import LimitsCarryOver, PacedClient
from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.run.runner import Run
from connector.bulk.time_slices import Heartbeat, TimeSlice, TimeSliceQueue
from connector.closing.bypass import NO_BYPASS, Bypass, bypass_of
from connector.errors import ConnectorError, LedgerError
from connector.ledger.claims import Worker
from connector.ledger.job_limits import JobLimits
from connector.ledger.jobs import DesiredState, Job, JobState, WorkerInfo
from connector.ledger.ledger import Ledger
from connector.ledger.shared_state import give_back_user, take_user

_LABEL = re.compile(r"machine (?P<who>.+) as (?P<users>\S+(?:, \S+)*)")


def label(who: str, users: Iterable[str]) -> str:
    """Return how a machine is called in the ledger: for people, and for the other machines to share with it."""
    return f"machine {who} as {', '.join(users)}"


def shares(present: Sequence[WorkerInfo]) -> dict[str, int]:
    """Return which machine, by its id, is to act as which user.

    Users that few can act as are given first, each to the machine that has fewest, the oldest first.
    """
    able: dict[str, list[int]] = {}
    for worker in present:
        label_match = _LABEL.fullmatch(worker.name)
        for user in label_match["users"].split(", ") if label_match else ():
            able.setdefault(user, []).append(worker.id)
    machine_of: dict[str, int] = {}
    load = Counter[int]()
    for user in sorted(able, key=lambda user: (len(able[user]), user)):
        machine_of[user] = min(able[user], key=lambda machine: (load[machine], machine))
        load[machine_of[user]] += 1
    return machine_of


TURN = 120.0
"""Seconds after which a turn begins nothing more: so that jobs alternate and users can change hands."""
TICK = 0.25
"""Seconds between looks whether to stop."""
BACK_OFF = 60.0
"""Seconds until a user who could not work (a secret that expired) tries again."""

T = TypeVar("T")


class Machine:
    """A process among those that work for one store; `work` returns when it is stopped or its work is done.

    `store` is the `postgresql://` address of `ledger`, which belongs to this machine alone until `work` has returned.
    `clients` has one of `organization` (`https://host`) for each user, by a name of that user and organization that is
    the same on every machine, without blanks or commas. `tell` is told what a person may want to know. Jobs that leave
    out other logic than the clients do (`bypass`) are left to others; where `job` names one, all but that are.
    """

    def __init__(
        self,
        store: str,
        ledger: Ledger,
        organization: str,
        clients: Mapping[str, PacedClient],
        *,
        tell: Callable[[str], None],
        heartbeat: Heartbeat | None = None,
        most_alike: float = ALIKE,
    ) -> None:
        self.bypass: Bypass = NO_BYPASS
        self.job = ""
        self.blocked: ConnectorError | None = None
        self._ledger = ledger
        self._organization = organization
        self._clients = clients
        self._clock = ledger.clock
        self._tell = tell
        self._heartbeat = heartbeat or Heartbeat()
        self._most_alike = most_alike
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(len(clients) + 2, thread_name_prefix="turn")
        self._held: dict[str, asyncio.Task[None]] = {}
        self._handovers: dict[str, LimitsCarryOver] = {}
        self._leaving: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._quiet: dict[TimeSlice, float] = {}
        self._who, self._stands_by = "", False
        self._queue = TimeSliceQueue(store, self._turn)

    def stop(self) -> None:
        """Finish what is in flight and end. May be called from any thread and from a signal handler."""
        self._stopping.set()
        for run in list(self._runs.values()):
            run.stop()

    def work(self, who: str, done: Callable[[], bool] = lambda: False) -> None:
        """Work on the jobs of the organization until stopped or `done`; `who` names this process for people.

        Raises LedgerError; work may then be called again.
        """
        self._who = who
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # the kind that psycopg can use anywhere
            runner.run(self._work(done))

    # -- which users are this machine's -------------------------------------------------------------------------------

    async def _work(self, done: Callable[[], bool]) -> None:
        async with self._queue.app.open_async():
            worker = await self._thread(partial(self._ledger.enter, label(self._who, self._clients)))
            try:
                while not self._stopping.is_set() and not await self._thread(done):
                    await self._look(worker)
                    await self._wait(done)
            finally:
                await self._let_go(worker, list(self._held))
                await self._thread(worker.leave)

    async def _wait(self, done: Callable[[], bool]) -> None:
        """Wait until it is time to look again, or there is no need to."""
        until = self._clock.monotonic() + self._heartbeat.look
        while self._clock.monotonic() < until and not self._stopping.is_set() and not await self._thread(done):
            for serving in self._held.values():
                if serving.done():
                    serving.result()  # it ends by an error only
            await asyncio.sleep(TICK)

    async def _look(self, worker: Worker) -> None:
        """Say that this machine lives, give back and take users, and put in turns for what is to be done."""
        mine = await self._thread(partial(self._mine, worker))
        if not mine and not self._stands_by:
            self._tell("Standing by: other processes act as every user of the settings. It goes on when one is free.")
        self._stands_by = not mine
        await self._let_go(worker, [user for user in self._held if user not in mine])
        for user in mine:
            if user not in self._held:
                await self._take(worker, user)
        jobs = await self._thread(self._jobs)
        for user in self._held:
            await self._thread(self._handovers[user].now_and_then)
            if await self._queue.drop_stalled(user, self._heartbeat.stalled):
                self._tell(
                    f"A turn of {self._clients[user].name} broke off on a machine that is gone; it is taken over."
                )
            now = self._clock.monotonic()
            turns = (TimeSlice(job.name, user) for job in jobs)
            await self._queue.submit(turn for turn in turns if self._quiet.get(turn, now) <= now)

    def _mine(self, worker: Worker) -> list[str]:
        worker.renew()
        return [user for user, machine in shares(self._ledger.workers()).items() if machine == worker.id]

    async def _take(self, worker: Worker, user: str) -> None:
        """Act as this user from now on, if no other machine still does."""
        if await self._thread(partial(take_user, self._ledger, worker, user)):
            self._tell(f"Working as {self._clients[user].name}.")
            self._handovers[user] = LimitsCarryOver(self._ledger, {user: self._clients[user]})
            await self._thread(self._handovers[user].begin)
            self._held[user] = asyncio.create_task(self._queue.serve(user, self._who, self._heartbeat))

    async def _let_go(self, worker: Worker, users: Sequence[str]) -> None:
        """Stop acting as these users when what is in flight has ended, and let other machines have them."""
        self._leaving |= set(users)
        for user in users:
            if user in self._runs:
                self._runs[user].stop()
            self._held[user].cancel()
        for user in users:
            await asyncio.gather(self._held.pop(user), return_exceptions=True)
            await self._thread(self._handovers.pop(user).keep)
            await self._thread(partial(give_back_user, self._ledger, worker, user))
            self._leaving.discard(user)

    def _jobs(self) -> list[Job]:
        """Return what there is to be done, the oldest first."""
        return [job for job in reversed(self._ledger.jobs()) if self._may_work_on(job)]

    def _may_work_on(self, job: Job) -> bool:
        ours = job.organization in {"", self._organization} and self.job in {"", job.name}
        if bypass_of(job.options, self.bypass) != self.bypass:
            return False
        if not ours or job.state is not JobState.READY or job.desired_state is not DesiredState.RUN:
            return False
        return JobLimits.of(job.options).opens_at(self._clock.now()) is None

    # -- a turn -------------------------------------------------------------------------------------------------------

    async def _turn(self, turn: TimeSlice) -> None:
        """Carry out a turn, and put in the next one if there is more to do."""
        if await self._thread(partial(self._carry_out, turn)):
            await self._queue.submit([turn])

    def _carry_out(self, turn: TimeSlice) -> bool:
        """Let the user work on the job for a while, if there is anything to do; return whether to go on."""
        job = self._ledger.find(turn.job)
        if job is None or turn.user not in self._held or not self._may_work_on(job) or self._stopping.is_set():
            return False
        ends, reported = self._clock.monotonic() + TURN, set[str]()

        def watch(moment: ProgressSnapshot) -> None:
            if moment.desired_state.seen not in {"", *reported}:
                reported.add(moment.desired_state.seen)
                self._tell(f"{turn.job}: {moment.desired_state.seen}")
            sleeps = moment.opens_at is not None
            if self._stopping.is_set() or turn.user in self._leaving or sleeps or self._clock.monotonic() > ends:
                run.stop()

        run = Run(self._ledger, job, [self._clients[turn.user]], watch, most_alike=self._most_alike)
        self._runs[turn.user] = run
        try:
            ending = run.work(self._who)
        except LedgerError as error:
            self._back_off(turn, error)
            return False
        finally:
            del self._runs[turn.user]
        if ending.blocked is not None:
            self._back_off(turn, ending.blocked)
        return ending.stopped and ending.blocked is None and ending.desired_state is DesiredState.RUN

    def _back_off(self, turn: TimeSlice, error: ConnectorError) -> None:
        """Let a user who cannot work wait; a person may have to act."""
        self.blocked = None if error.transient else error
        self._quiet[turn] = self._clock.monotonic() + (0.0 if error.transient else BACK_OFF)
        self._tell(f"{self._clients[turn.user].name} cannot work on job {turn.job}: {error}")

    async def _thread(self, call: Callable[[], T]) -> T:
        """Call what waits for the database or the organization beside the event loop, whose heartbeats go on."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
