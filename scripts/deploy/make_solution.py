#!/usr/bin/env python3
"""Make the solution of sample flows for one custom connector, ready for `pac solution pack`.

The connector has another name and id in every environment. `pac connector list` shows both; give them:

    python scripts/deploy/make_solution.py --connector shared_NAME --connector-id GUID --out flows
    pac solution pack --zipfile flows.zip --folder flows --packagetype Unmanaged
    pac solution import --path flows.zip
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from uuid import UUID

SOURCE = Path(__file__).with_name("solution")
CONNECTOR, CONNECTOR_ID = "shared_opportunityclose", "00000000-0000-0000-0000-000000000000"
"""What stands in the files for the connector's name and id."""


def main() -> int:
    """Write the folder. Returns 0, or 2 when an argument is wrong; nothing is written then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connector", required=True, help="the connector's name: shared_ and more")
    parser.add_argument("--connector-id", required=True, type=UUID, help="the connector's id, a GUID")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write, which must not exist yet")
    arguments = parser.parse_args()
    if not re.fullmatch(r"shared_[a-z0-9-]+", arguments.connector):
        parser.error(f"--connector {arguments.connector}: it is shared_ with small letters, digits and - behind it.")
    if arguments.out.exists():
        parser.error(f"--out {arguments.out}: it exists already. Remove it, or name another folder.")
    shutil.copytree(SOURCE, arguments.out)
    for path in arguments.out.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            text = text.replace(CONNECTOR_ID, str(arguments.connector_id)).replace(
                f"apis/{CONNECTOR}", f"apis/{arguments.connector}"
            )
            text = text.replace(f'"name": "{CONNECTOR}"', f'"name": "{arguments.connector}"')
            path.write_text(text, encoding="utf-8")
    pack = f"pac solution pack --zipfile flows.zip --folder {arguments.out}"
    sys.stdout.write(f"Wrote {arguments.out}. Pack it: {pack}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
