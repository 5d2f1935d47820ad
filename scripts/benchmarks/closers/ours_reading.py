"""The connector itself, reading: in the pages of 5,000 that the service gives unasked, as it always does."""

from __future__ import annotations

from pathlib import Path

from connector import connect, load_settings
from connector.dataverse.webapi import Operation
from scripts.benchmarks.closers.cost import job, tell


def main() -> None:
    """Read."""
    connection = connect(load_settings(job()["environment"], Path("/dev/null")))
    try:
        connection.warm()
        connection.organization.metadata()
        operation = Operation("GET", "opportunities?$select=name,statecode,statuscode")
        tell(lambda: len(connection.api.read_rows(operation, "rows")))
    finally:
        connection.close()


main()
