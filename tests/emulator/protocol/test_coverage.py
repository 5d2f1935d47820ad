from __future__ import annotations

import csv
from pathlib import Path

from connector.emulator.rules.rule import rules
from tests.emulator.coverage_page import PAGE, coverage

CODES = Path(__file__).resolve().parents[2] / "fixtures" / "error_codes.csv"
RECORDED = {"", "0x0", "0x80048d19", "0x80060888"}
"""Codes of documented answers and recordings that the list of codes does not have."""


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text("utf-8") == coverage(), "run: python -m tests.emulator.coverage_page"


def test_no_code_is_invented() -> None:
    with CODES.open(encoding="utf-8") as file:
        listed = {next(iter(row.values())).lower() for row in csv.DictReader(file)}
    assert {rule.code for rule in rules().values() if rule.group == "protocol"} - listed <= RECORDED
