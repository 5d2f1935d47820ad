"""A desk to work at: settings for an emulated organization in a file, and the command line."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connector.cli.program import run

TABLES = ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "competitor")


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Desk:
    file: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def run(self, *arguments: str, **settings: str) -> Said:
        """Run a command line with the desk's settings, or with these instead."""
        for name, value in (settings or {"DATAVERSE_URL": f"emulator:{self.file}"}).items():
            self.monkeypatch.setenv(name, value)
        self.capsys.readouterr()
        code = run(arguments)
        said = self.capsys.readouterr()
        return Said(code, said.out, said.err)

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows that a close can touch."""
        return {table: sorted(self.sql(f'SELECT * FROM "{table}"'), key=repr) for table in TABLES}

    def opportunity(self, *, drafts: int = 0, actives: int = 0, state: int = 0) -> str:
        """The id of an opportunity in this state with just so many draft and active quotes."""
        found = self.sql(
            "SELECT o.opportunityid FROM opportunity o LEFT JOIN quote q ON q.opportunityid = o.opportunityid "
            "WHERE o.statecode = ? GROUP BY o.opportunityid "
            "HAVING total(q.statecode = 0) = ? AND total(q.statecode = 1) = ? ORDER BY 1",
            state,
            drafts,
            actives,
        )
        return str(found[0][0])
