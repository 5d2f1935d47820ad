"""What a user with ten million rows should do, worked out from measured curves and documented limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.benchmarks.records import markdown

ROWS = 10_000_000
WORK = {"0.3 s (no plug-ins to speak of)": 0.3, "1.2 s (the emulator's model)": 1.2, "3 s (slow plug-ins)": 3.0}
"""Seconds that the service works on a close with two quotes: nobody has published any; the first rows of a job tell."""
SETUPS = ((1, 1), (4, 1), (8, 1), (8, 4), (8, 16))
"""Web servers and users."""
PER_SECOND = 4.0
"""Seconds of execution a second that one user gets on one web server: 1,200 in every 300 (documented)."""
OPERATIONS = 3
"""Writes in a close with two quotes; each counts towards the tenant's Power Platform requests, in a batch too."""
POOL, PER_LICENCE, MOST_POOLED = 500_000, 5_000, 10_000_000
"""Requests in 24 hours that all application users of a tenant share: base, for each licence, at most (documented)."""

ABOUT_CREWS = """\
Several processes and users. The service is modelled here (about 1.2 s of work for a close with two quotes, the
documented limits), so that the service is what everybody waits for, and not the few processors, which the emulator has
to share with all of them. What a user may use up does not grow with processes; it grows with users, and with web
servers. A second process is for a machine that may fail, or for more than one machine's worth of work.
"""


def advice(largest: Mapping[str, Any], closing: Mapping[str, Any]) -> str:
    """Return the text, worked out from the largest job measured and the largest in which every row had to be closed."""
    plan, run = (closing[part]["seconds"] / closing["rows"] for part in ("plan", "run"))
    store = largest["store_bytes_per_row"] * ROWS / 1e9
    return f"""## Ten million rows, on paper

What the service allows decides, not the client. Days for {ROWS:,} closes with two quotes each, at {PER_SECOND:.0f} s of
execution a second for each user and web server:

{_days()}
The tenant's entitlement comes on top: {OPERATIONS} writes a row are {OPERATIONS * ROWS // 10**6} million Power Platform
requests. All application users together have {POOL:,} in 24 hours, {PER_LICENCE:,} more for each licence, and
{MOST_POOLED:,} at most: {OPERATIONS * ROWS / MOST_POOLED:.0f} days with the largest pool,
{OPERATIONS * ROWS / POOL:.0f} with the smallest. More users do not change that.

The client's share, from {closing["rows"]:,} rows of which all were closed (which has the emulator's work on the same
two processors in it): planning {plan * ROWS / 3600:.1f} h, running {run * ROWS / 3600:.1f} h without waiting for the
service. Memory does not grow with the rows; the store takes {store:.1f} GB. One machine is enough until the service
allows more than {1 / run:,.0f} closes a second.

What to do:

1. Find out the tenant's pool of requests (admin center) and the number of web servers (`connector bulk status` of any
   job names those it has met). The larger of the two numbers of days above is what it will take.
2. Split the file into jobs of a million rows: each can be planned, approved, reconciled and undone by itself, and its
   reports can still be opened. Rows of one account belong into one file: they lock the same records.
3. Begin with a job of a thousand rows. Its status tells the seconds of work per row and foresees the end; hold the
   table above against it.
4. Give the job four application users, and more only while the status says that it waits for the users' budgets. They
   share web servers and a database: past some number answers get slower, which the governor takes as a sign to send
   less.
5. One worker process with a store on SQLite is enough for all of this. PostgreSQL and `connector worker` are for more
   than one machine, or when the job must go on while a machine is down.
6. Switch off, for that time, what need not run: flows and plug-ins on the closing of quotes and opportunities. Half the
   work per row is half the days; nothing that a client does comes near that.
"""


def _days() -> str:
    lines = []
    for name, seconds in WORK.items():
        days = [ROWS / (PER_SECOND / seconds * servers * users) / 86400 for servers, users in SETUPS]
        lines.append((name, *(f"{one:,.1f}" for one in days)))
    return markdown(("work per close", *(_setup(*one) for one in SETUPS)), lines)


def _setup(servers: int, users: int) -> str:
    return f"{servers} web server{'s' * (servers > 1)}, {users} user{'s' * (users > 1)}"
