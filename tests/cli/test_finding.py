"""What can be closed is found by list, and looked at by show."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest

from connector.clock import SystemClock
from tests.cli.desk import Desk


def test_a_list_has_what_is_open_and_says_when_there_is_more(desk: Desk) -> None:
    said = desk.run("list", "--limit", "5")
    assert said.code == 0
    assert len([line for line in said.out.splitlines() if line.startswith("00000003-")]) == 5
    assert "There are more than 5: see more with --limit." in said.out
    everything = desk.run("list", "--limit", "5000", "--json").data["opportunities"]
    assert {row["state"] for row in everything} == {"open"}
    assert len(everything) == desk.sql("SELECT count(*) FROM opportunity WHERE statecode = 0")[0][0]


def test_stale_ones_and_those_of_an_owner_are_listed_alone(desk: Desk) -> None:
    everything = desk.run("list", "--limit", "5000", "--json").data["opportunities"]
    now = SystemClock().now()
    desk.monkeypatch.setattr(SystemClock, "now", lambda _self: now)  # no day ends between two commands
    day = str((now - timedelta(days=100)).date())
    stale = desk.run("list", "--older-than", "100", "--limit", "5000", "--json").data["opportunities"]
    assert stale == [row for row in everything if row["estimated_close_date"] < day]
    owner = everything[0]["owner"]
    own = desk.run("list", "--owner", owner, "--limit", "5000", "--json").data["opportunities"]
    assert own == [row for row in everything if row["owner"] == owner]
    next_line = desk.run("list", "--owner", owner, "--older-than", "100").out.splitlines()[-1]
    (words,) = [shlex.split(part)[1:] for part in next_line.split(": ") if part.startswith("connector bulk plan")]
    assert desk.run(*words, "--out", "p.jsonl", "--json").data["rows"] == len([row for row in stale if row in own])
    assert desk.run("list", "--owner", "Nobody's O'Name", "--json").data["opportunities"] == []


@pytest.mark.parametrize("beside", [("--owner", "x"), ("--where", "name ne null"), ("--older-than", "1")])
def test_a_view_goes_alone(desk: Desk, beside: tuple[str, ...]) -> None:
    assert desk.run("list", "--view", "Stale", *beside).code == 2


def test_an_opportunity_is_shown_with_its_quotes_and_what_closed_it(desk: Desk) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    before = desk.run("show", opportunity, "--json").data
    assert (before["state"], before["close_activities"]) == ("open", [])
    desk.run("close", opportunity, "--lost", "--yes")
    data = desk.run("show", opportunity, "--json").data
    assert (data["state"], {quote["state"] for quote in data["quotes"]}) == ("lost", {"closed"})
    assert {row["record"] for row in data["close_activities"]} == {opportunity, *(row["id"] for row in data["quotes"])}
    shown = desk.run("show", opportunity).out
    assert all(quote["number"] in shown for quote in data["quotes"])
    assert all(row["id"] in shown for row in data["close_activities"])


def test_what_is_not_there_cannot_be_shown(desk: Desk) -> None:
    said = desk.run("show", "00000003-0000-4000-8000-0000000fffff")
    assert said.code == 2
    assert "There is no opportunity 00000003-0000-4000-8000-0000000fffff" in said.err
