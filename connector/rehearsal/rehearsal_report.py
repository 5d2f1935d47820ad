"""What a rehearsal is told as: plain data for programs, and a page with the curve that is one file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from connector.bulk.planning import READS
from connector.bulk.reports.documents import write_page
from connector.bulk.words import BINDS, duration
from connector.dataverse.pacing.forecast import STEPS, RemainingBudget, Workload, seconds_for
from connector.emulator.limits.protection import Limits
from connector.rehearsal.rehearsal import CaseResult, RehearsalResult

ENTITLEMENT = 500_000
"""Requests a day of all application users of a tenant with Dynamics 365, before what its licenses add (Microsoft Learn,
"Requests limits and allocations")."""
USERS, SERVERS = (1, 2, 4, 8), (1, 2, 4, 8)
"""With how many users and web servers it is told how long the job takes."""
WIDTH, HEIGHT = 1000.0, 240.0
FORESEEN = {
    "inferred": "How fast the organization works on the day: work per write is inferred, not measured. A pilot job "
    "measures it (--learn JOB), and so does `bulk plan --ask 50`.",
    "asked": "How fast the organization works under load: the rows that were asked came one after another.",
    "job": "Whether the organization works on the day as it did for the pilot job.",
}
"""What is not known of the work, by where its seconds come from."""


@dataclass(frozen=True, slots=True)
class RehearsalReport:
    """A rehearsal of a plan file: its summary, what came of it, the limits and users, where its work comes from.

    `gaps` are sentences about what the capture could not see.
    """

    plan: Path
    summary: Mapping[str, object]
    rows: int
    result: RehearsalResult
    limits: Limits
    users: int
    work: str
    gaps: Sequence[str]

    def not_known(self) -> list[str]:
        """Return what the rehearsal does not know, to be told first."""
        servers = self.result.likely.servers
        answered = "one answered" if servers == 1 else f"{servers} answered"
        of_servers = f"How many web servers it has, each with limits of its own: {answered} so far, it may have more."
        return [
            FORESEEN[self.work],
            *(() if self.work == "job" else (of_servers,)),
            "What plug-ins and workflows decide: something stands in for each, and refuses only what its line says.",
            "What other programs use of the same users' limits.",
            *self.gaps,
        ]

    def operations(self) -> int:
        """Return the requests that count towards the entitlement: each write and each batch of reads."""
        return int(str(self.summary.get("steps", 0))) + math.ceil(READS * self.rows)

    def days(self) -> float:
        """Return how many days of the entitlement the job uses."""
        return self.operations() / ENTITLEMENT

    def entitlement(self) -> tuple[str, str]:
        """Return how much of the entitlement the job uses, and of what, in words."""
        if (days := self.days()) >= 1:
            return f"{days:.1f}", "days of entitlement"
        return f"{100 * days:.0f} %" if days >= 0.01 else "under 1 %", "of a day's entitlement"

    def durations(self) -> Iterator[tuple[int, int, float]]:
        """Yield how many seconds the job takes with so many users on so many servers.

        The budgets decide; what is played decides how much longer than by them it takes.
        """
        likely = self.result.likely
        ratio = likely.seconds / self._by_budgets(likely, self.users, likely.servers)
        for users in sorted({*USERS, self.users}):
            for servers in sorted({*SERVERS, likely.servers}):
                yield users, servers, ratio * self._by_budgets(likely, users, servers)

    def _by_budgets(self, case: CaseResult, users: int, servers: int) -> float:
        limits, each = self.limits, users * servers
        work = case.seconds_per_row * self.rows
        at_once = min(limits.concurrency, limits.workers / users)
        requests, seconds = (
            RemainingBudget(room, room, [0.0] * STEPS) for room in (float(limits.requests), limits.execution_seconds)
        )
        share = Workload(case.requests / each, work / each, at_once * case.requests / work)
        return case.seconds_per_row + seconds_for(
            share, [(requests, seconds)], window=limits.window_seconds, spread=0.0, last=0.0
        )

    def planned_refusals(self) -> dict[str, object]:
        """Return the rows that the plan itself leaves out, by result."""
        return {name: count for name in ("refused", "failed") if (count := self.summary.get(name))}

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        result = self.result
        return {
            "rehearsed": "against a model",
            "not_known": self.not_known(),
            "plan": str(self.plan),
            "rows": self.rows,
            "users": self.users,
            "work": self.work,
            "cases": [case.data() for case in result.cases],
            "with": [{"users": users, "servers": servers, "seconds": round(seconds)}
                     for users, servers, seconds in self.durations()],
            "entitlement": {"requests": self.operations(), "a_day": ENTITLEMENT, "days": round(self.days(), 2)},
            "left_out_by_the_plan": self.planned_refusals(),
            "refused": [{"by": each.by, "reason": each.reason, "rows": rows} for each, rows in result.causes.items()],
            "refused_rows": [{"row": number, "opportunity_id": key, "by": refusal.by, "reason": refusal.reason}
                             for number, key, refusal in result.rows],
            "cannot_be_told": result.unsure,
            "side_effects": result.effects.data(),
            "summary": dict(self.summary),
        }  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the page. Raises InputError."""
        longest = max(case.seconds for case in self.result.cases) or 1.0
        write_page(
            path,
            "rehearsal.html",
            {
                "report": self,
                "about": (),
                "entitlement": ENTITLEMENT,
                "result": self.result,
                "cases": [(case, duration(case.seconds), BINDS.get(case.binding, case.binding), _path(case, longest))
                          for case in self.result.cases],
                "ticks": [(WIDTH * part / 4, duration(longest * part / 4) if part else "0") for part in range(5)],
                "durations": [(users, [(servers, duration(seconds)) for each, servers, seconds in self.durations()
                                       if each == users]) for users in sorted({*USERS, self.users})],
                "effects": list(self.result.effects.lines()),
                "made": datetime.now(UTC),
            },
        )  # fmt: skip


def _path(case: CaseResult, longest: float) -> str:
    """Return the curve of a case as the path of a picture: time to the right, rows upwards."""
    rows = case.curve[-1][1] or 1
    points = [(WIDTH * at / longest, HEIGHT - 0.95 * HEIGHT * done / rows) for at, done in case.curve]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
