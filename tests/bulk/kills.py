"""Kills working processes at random moments, again and again, and counts what the organization has in the end.

The organization is an emulator that listens on a port of this process, with a plan of failures: lost answers, resets
before and after a commit, 429, 503, trouble with tokens. The workers are processes of their own, ended by SIGKILL.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from connector.clock import SystemClock
from connector.closing.model import Intent, Outcome
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.issuer import Application, Secret, local_tenant
from connector.emulator.limits.faults import plan_of
from connector.emulator.limits.protection import Limits
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.ledger.jobs import ItemStatus, JobState, Row
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger

ROOT = Path(__file__).resolve().parents[2]
TROUBLE: Sequence[Mapping[str, object]] = (
    {"do": "reset", "when": "after", "message": "$batch", "probability": 0.02},
    {"do": "reset", "when": "before", "message": "$batch", "probability": 0.02},
    {"do": "truncate", "message": "$batch", "probability": 0.02},
    {"do": "status", "status": 503, "form": "html", "when": "after", "message": "$batch", "probability": 0.02},
    {"do": "status", "status": 503, "form": "html", "probability": 0.02},
    {"do": "throttle", "facet": "time", "seconds": 1, "probability": 0.01},
    {"do": "deadlock", "message": "CloseQuote", "probability": 0.002},
    {"do": "status", "status": 503, "message": "token", "probability": 0.2},
    {"do": "reset", "message": "token", "probability": 0.1},
)
PATIENCE = 300.0
"""Seconds that anything may take on the slowest machine; a job that nobody kills any more has four times as long."""


@dataclass(slots=True)
class Score:
    """What was done to the workers, and what came of it."""

    kills: int = 0
    jobs: int = 0
    rows: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """Return it for people."""
        told = ", ".join(f"{count:,} {name}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.kills} kills over {self.jobs} jobs, {self.rows:,} rows, {self.seconds:.0f} s; "
            f"{len(self.problems)} problems; faults: {told}"
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """An organization with opportunities to close, a store, and a folder for everything else."""

    emulator: ServedEmulator
    store: str
    folder: Path
    ids: tuple[str, ...]
    env: Mapping[str, str]

    def outcome(self, number: int) -> Outcome:
        """Return how row `number` ends: two in three are won."""
        return Outcome.LOST if number % 3 == 0 else Outcome.WON

    def write_rows(self) -> Path:
        path = self.folder / "rows.csv"
        lines = [f"{id_},{self.outcome(number)}" for number, id_ in enumerate(self.ids, 1)]
        path.write_text("opportunityid,outcome\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return path

    def rows(self) -> Iterator[Row]:
        for number, id_ in enumerate(self.ids, 1):
            yield Row(number, Intent(UUID(id_), self.outcome(number)))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "workers.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=dict(self.env), stdout=subprocess.DEVNULL, stderr=log
            )

    def told(self, sentence: str) -> int:
        """Return how often workers have said so."""
        return (self.folder / "workers.log").read_text(encoding="utf-8").count(sentence)

    def finished(self, ledger: Ledger, name: str) -> bool:
        job = ledger.find(name)
        return job is not None and job.state is JobState.FINISHED

    def judge(self, ledger: Ledger, name: str, score: Score) -> None:
        """Add what is wrong: by the ledger's account, and by what the organization has."""
        counts = ledger.counts(name)
        score.jobs += 1
        score.rows += counts.total
        if counts.total != len(self.ids):
            score.problems.append(f"{counts.total} rows in the job, not {len(self.ids)}")
        for record in ledger.records(name):
            if record.status is not ItemStatus.CLOSED:
                score.problems.append(f"row {record.row}: {record.status.value} {record.reason}")
        control = self.emulator.emulator.control
        closes = control.closes()
        score.problems += [f"closed more than once: {one}" for one in closes if one["closes"] != 1]
        closed = {one["id"] for one in closes if one["table"] == "opportunity"}
        score.problems += [f"not closed in the organization: {id_}" for id_ in self.ids if id_ not in closed]
        planned = control.faults()
        for fault, acted in zip(planned["faults"], planned["acted"], strict=True):
            score.faults[f"{fault['do']} {fault['when']} {fault['message']}"] += acted


@contextmanager
def scene(
    folder: Path, store: str, rows: int, seed: int, users: int = 1, trouble: Sequence[Mapping[str, object]] = TROUBLE
) -> Iterator[Scene]:
    """Serve an organization with `rows` open opportunities, in which `users` applications may work."""
    tenant = local_tenant()
    more = [
        Application(str(UUID(int=n)), str(UUID(int=n + 100)), f"user {n}", (Secret(f"emulator-{n}"),))
        for n in range(1, users)
    ]
    tenant = replace(tenant, applications=(*tenant.applications, *more))
    limits = Limits(concurrency_retry_after=(1.0, 2.0), longest_penalty=5.0)
    options = EmulatorOptions(
        tenant=tenant, limits=limits, seeded=rows, seed=seed, faults=plan_of({"seed": seed, "faults": list(trouble)})
    )
    folder.mkdir(parents=True, exist_ok=True)
    with served(options, SystemClock(), folder / "keys") as emulator:
        found = emulator.emulator.organization.world.store.rows(
            "SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY 1", ()
        )
        ids = tuple(str(id_) for (id_,) in found)[:rows]
        identities = folder / "identities.toml"
        identities.write_text("\n".join(_identity(one) for one in more), encoding="utf-8")
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DATAVERSE_", "CONNECTOR_"))},
            "DATAVERSE_URL": emulator.url,
            "DATAVERSE_TENANT_ID": emulator.tenant_id,
            "DATAVERSE_CLIENT_ID": emulator.client_id,
            "DATAVERSE_CLIENT_SECRET": emulator.client_secret,
            "DATAVERSE_AUTHORITY": emulator.authority,
            "DATAVERSE_CA_FILE": str(emulator.ca_file),
            "CONNECTOR_STORE": store,
            "PYTHONPATH": str(ROOT),
        }
        if more:
            env["DATAVERSE_IDENTITIES"] = str(identities)
        yield Scene(emulator, store, folder, ids, env)


def _identity(one: Application) -> str:
    secret = one.secrets[0].value
    return f'[[identity]]\nname = "{one.name}"\nclient_id = "{one.client_id}"\nclient_secret = "{secret}"'


def kill_runs(folder: Path, *, kills: int, rows: int, seed: int, tell: Callable[[str], None] = print) -> Score:
    """Kill `connector bulk run` on SQLite so often and resume it, over as many jobs of `rows` rows as it takes.

    A job of 2,000 rows is done after a few dozen kills; the next one takes the rest.
    """
    score, chance, began = Score(), random.Random(seed), time.monotonic()
    while score.kills < kills and not score.problems:
        place = folder / f"job{score.jobs}"
        with scene(place, str(place / "jobs.db"), rows, chance.randrange(1 << 30)) as at:
            _kill_one_run(at, kills, chance, score)
        score.seconds = time.monotonic() - began
        tell(f"so far {score.line()}")
    return score


def _kill_one_run(at: Scene, kills: int, chance: random.Random, score: Score) -> None:
    """Run a job to its end, killing it until enough are killed."""
    file, name, began = at.write_rows(), "killed", time.monotonic()
    with open_ledger(at.store, SystemClock()) as ledger:
        while not at.finished(ledger, name):
            again = ledger.find(name) is not None and chance.random() < 0.5
            command = ["resume", name] if again else ["run", str(file), "--job", name]
            process = at.start("-m", "connector", "bulk", *command, "--yes", "--json")
            if score.kills >= kills:
                process.wait(PATIENCE)
                continue
            try:
                # Starting takes about a second; the moments are spread over that, the loading and the work.
                process.wait(chance.uniform(0.3, 4.0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                score.kills += 1
                began = time.monotonic()
                if chance.random() < 0.1:
                    at.emulator.emulator.control.revoke()
            if time.monotonic() - began > PATIENCE * 4:
                score.problems.append("the job does not come to its end")
                return
        at.judge(ledger, name, score)


def kill_workers(
    folder: Path, store: Callable[[], str], *, kills: int, rows: int, seed: int, tell: Callable[[str], None] = print
) -> Score:
    """Kill one of three workers on PostgreSQL so often, starting another in its place; `store` makes a database."""
    score, chance, began = Score(), random.Random(seed), time.monotonic()
    while score.kills < kills and not score.problems:
        place = folder / f"job{score.jobs}"
        with scene(place, store(), rows, chance.randrange(1 << 30), users=3) as at:
            _kill_some_workers(at, kills, chance, score)
        score.seconds = time.monotonic() - began
        tell(f"so far {score.line()}")
    return score


def _kill_some_workers(at: Scene, kills: int, chance: random.Random, score: Score) -> None:
    name, began = "shared", time.monotonic()
    worker = str(Path(__file__).with_name("quick_worker.py"))
    with open_ledger(at.store, SystemClock()) as ledger:
        ledger.create(name, at.rows(), organization=at.emulator.url)
        workers = [at.start(worker) for _ in range(3)]
        try:
            while not at.finished(ledger, name):
                time.sleep(chance.uniform(0.2, 4.0))
                if score.kills < kills:
                    place = chance.randrange(len(workers))
                    workers[place].kill()
                    workers[place].wait()
                    workers[place] = at.start(worker)
                    score.kills += 1
                    began = time.monotonic()
                if time.monotonic() - began > PATIENCE * 4:
                    score.problems.append("the job does not come to its end")
                    return
        finally:
            for process in workers:
                process.terminate()
            for process in workers:
                process.wait(PATIENCE)
        at.judge(ledger, name, score)
