#!/usr/bin/env python3
r"""Hand on what changed of opportunities since last time, and only that, to whatever reads files.

    scripts/sync_changes.py /data/changes              how much changed; writes nothing
    scripts/sync_changes.py /data/changes --apply      writes it to /data/changes/opportunities-000001.jsonl, and so on

A line is {"id": ..., "row": {...}}, amounts as text, or {"id": ..., "deleted": true}. The first file, and one after a
break of more than a week (when the service's token has expired), begins with {"complete": true}: it has every row there
is. Where the last run got to is kept in state.json in the same folder, written after the file it belongs to: a run that
broke off is done again under the same number. Run at the same time, the second says so and does nothing. Settings:
DATAVERSE_...

Every 15 minutes, by cron:
    */15 * * * *  cd /opt/connector && .venv/bin/python scripts/sync_changes.py /data/changes --apply
By Windows Task Scheduler:
    schtasks /Create /SC MINUTE /MO 15 /TN "Hand on changes" /TR "cmd /c cd /d C:\connector && .venv\Scripts\python scripts\sync_changes.py D:\changes --apply"
"""  # noqa: E501 - a line of a scheduler is one line

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    from connector import Changes, ConnectorError, connect, exclusive, load_settings
except ImportError as missing:
    python = "Run it with .venv/bin/python, on Windows with .venv\\Scripts\\python."
    sys.exit(f"The connector is not installed for this Python ({missing}). {python}")


def main() -> int:
    """Read the changes, and with --apply write them down; return 0 when it went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files are written, and the state is kept")
    parser.add_argument("--apply", action="store_true", help="write them; without it nothing is written")
    given = parser.parse_args()
    try:
        with exclusive(given.folder / "sync") as alone:
            if alone:
                return sync(given.folder, given.apply)
    except (ConnectorError, OSError, ValueError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    sys.stdout.write("Another run is at work in this folder; nothing was done.\n")
    return 0


def sync(folder: Path, apply: bool) -> int:  # noqa: FBT001 - what the person said
    """Hand on what changed."""
    state = read_state(folder / "state.json")
    with connect(load_settings()) as connection:
        if state.get("organization", connection.base_url) != connection.base_url:
            raise ValueError(
                f"{folder} follows {state['organization']}. Use a folder of its own for each organization."
            )
        changes = connection.changes(str(state.get("link", "")))
        organization = connection.base_url
    if changes.complete and state:
        sys.stdout.write("The token of last time has expired, so everything is handed on again.\n")
    counted = f"{len(changes.rows):,} changed, {len(changes.deleted):,} deleted"
    if not apply:
        sys.stdout.write(f"{counted}. Nothing is written without --apply.\n")
        return 0
    number = int(str(state.get("number", 0)))
    if changes.rows or changes.deleted or changes.complete:
        number += 1
        target = folder / f"opportunities-{number:06d}.jsonl"
        write(target, lines(changes))
        counted += f", in {target}"
    write(folder / "state.json", [json.dumps({"organization": organization, "number": number, "link": changes.link})])
    sys.stdout.write(f"{counted}.\n")
    return 0


def lines(changes: Changes) -> Iterator[str]:
    """Return the lines of a file."""
    if changes.complete:
        yield json.dumps({"complete": True})
    for row in changes.rows:
        yield json.dumps(
            {"id": row["opportunityid"], "row": dict(row)}, ensure_ascii=False, default=str
        )  # amounts exact
    for id_ in changes.deleted:
        yield json.dumps({"id": id_, "deleted": True})


def read_state(path: Path) -> dict[str, object]:
    """Return what the last run wrote down, or nothing."""
    if not path.exists():
        return {}
    state = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(state, dict):
        raise TypeError(f"{path} is not what this script wrote. Remove it to begin anew.")
    return state


def write(path: Path, written: Iterator[str] | list[str]) -> None:
    """Write a file whole, or, whatever happens, not at all."""
    aside = path.with_name(f".{path.name}.part")
    with aside.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in written)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
