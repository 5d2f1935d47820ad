#!/usr/bin/env python3
r"""Apply the closures that another system exports: a file of rows, whatever it calls its columns.

    scripts/apply_closures.py export.csv --map OppId=opportunityid --map Result=outcome            what would happen
    scripts/apply_closures.py export.csv --map OppId=opportunityid --map Result=outcome --apply    does it

A file is a job whose name comes from its content: run twice, it goes on where it was or finds itself done; run at the
same time, the second says so and stops. Rows that were not closed are listed by `connector bulk report NAME
--dead-letters again.csv`, which is input for the next run. Settings: DATAVERSE_... and CONNECTOR_STORE.

Every night at 2, by cron:
    0 2 * * *  cd /opt/connector && .venv/bin/python scripts/apply_closures.py /data/erp.csv --map Id=opportunityid --apply
By Windows Task Scheduler:
    schtasks /Create /SC DAILY /ST 02:00 /TN "Apply closures" /TR "cmd /c cd /d C:\connector && .venv\Scripts\python scripts\apply_closures.py D:\erp.csv --map Id=opportunityid --apply"
"""  # noqa: E501 - a line of a scheduler is one line

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

try:
    from connector import run_command
except ImportError as missing:
    python = "Run it with .venv/bin/python, on Windows with .venv\\Scripts\\python."
    sys.exit(f"The connector is not installed for this Python ({missing}). {python}")


def main() -> int:
    """Plan or run the file; return the exit code of `connector bulk`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="CSV, JSON Lines, Excel or Parquet")
    parser.add_argument("--map", action="append", default=[], metavar="THEIRS=OURS", help="read a column by our name")
    parser.add_argument("--outcome", choices=("won", "lost"), help="for rows that say none")
    parser.add_argument("--apply", action="store_true", help="close them; without it nothing is changed")
    given = parser.parse_args()
    options = [word for one in given.map for word in ("--map", one)]
    options += [f"--{given.outcome}"] if given.outcome else []
    if not given.file.is_file():
        sys.stderr.write(f"Error: there is no file {given.file}.\n")
        return 2
    if not given.apply:
        sys.stdout.write("Nothing is changed without --apply.\n")
        sys.stdout.flush()
        return run_command(["bulk", "plan", str(given.file), *options])
    return run_command(["bulk", "run", str(given.file), "--job", job_name(given.file, options), "--yes", *options])


def job_name(file: Path, options: list[str]) -> str:
    """Return a name that is the same for the same rows, read in the same way."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    digest.update("\n".join(options).encode())
    return f"{file.stem}-{digest.hexdigest()[:12]}"


if __name__ == "__main__":
    sys.exit(main())
