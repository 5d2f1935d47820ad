from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.emulator.world.schema_file import load_schema
from connector.emulator.world.store import DuplicateKey, Store, StoreError

KEY = "00000001-0000-4000-8000-0000000000{:02d}"


@pytest.fixture
def store() -> Store:
    return Store(":memory:", load_schema())


def test_a_row_that_was_written_is_read_back_and_versions_only_grow(store: Store) -> None:
    first = store.insert("account", {"accountid": KEY.format(1), "name": "Ana"})
    second = store.update("account", KEY.format(1), {"name": "Bo"})
    assert second > first
    assert store.get("account", KEY.format(1), ("name", "versionnumber")) == {"name": "Bo", "versionnumber": second}
    assert store.get("account", KEY.format(2)) is None
    assert store.update("account", KEY.format(2), {"name": "nobody"}) == 0


def test_a_taken_key_is_named(store: Store) -> None:
    store.insert("account", {"accountid": KEY.format(1)})
    with pytest.raises(DuplicateKey) as caught:
        store.insert("account", {"accountid": KEY.format(1)})
    assert caught.value.key == KEY.format(1)


def write_then_fail(store: Store, key: str) -> None:
    with store.transaction():
        store.insert("account", {"accountid": key})
        raise ValueError("inner")


def test_an_inner_failure_undoes_the_inner_part_only(store: Store) -> None:
    with store.transaction():
        store.insert("account", {"accountid": KEY.format(1)})
        with pytest.raises(ValueError, match="inner"):
            write_then_fail(store, KEY.format(2))
        store.insert("account", {"accountid": KEY.format(3)})
    assert [key for (key,) in store.rows("SELECT accountid FROM account ORDER BY 1")] == [KEY.format(1), KEY.format(3)]


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(st.integers(0, 9), lambda inner: st.lists(st.tuples(st.booleans(), inner), max_size=3), max_leaves=8)
)
def test_nested_transactions_keep_exactly_what_no_failure_surrounds(tree: object) -> None:
    store = Store(":memory:", load_schema())
    kept: list[int] = []

    def run(node: object, into: list[int]) -> None:
        if isinstance(node, int):
            key = store.version
            store.insert("account", {"accountid": f"k{key}", "numberofemployees": key})
            into.append(key)
            return
        assert isinstance(node, list)
        for fails, child in node:
            mine: list[int] = []
            with suppress(ZeroDivisionError), store.transaction():
                run(child, mine)
                mine.append(1 // (not fails))
                mine.pop()
                into.extend(mine)

    run(tree, kept)
    found = [number for (number,) in store.rows("SELECT numberofemployees FROM account ORDER BY 1")]
    assert found == sorted(kept)
    assert store.depth == 0


def test_deleted_rows_stay_in_the_change_log(store: Store) -> None:
    store.insert("account", {"accountid": KEY.format(1)})
    before = store.version
    assert store.delete("account", KEY.format(1), "2026-01-01T00:00:00Z")
    assert [key for key, _ in store.deleted_since("account", before)] == [KEY.format(1)]
    assert store.deleted_since("account", store.version) == []
    assert store.deleted_since("quote", before) == []


def test_a_snapshot_brings_everything_back_the_version_counter_included(store: Store) -> None:
    store.insert("account", {"accountid": KEY.format(1), "name": "Ana"})
    kept = store.snapshot()
    version = store.version
    store.update("account", KEY.format(1), {"name": "Bo"})
    store.insert("quote", {"quoteid": KEY.format(2)})
    store.restore(kept)
    assert store.version == version
    assert store.get("account", KEY.format(1), ("name",)) == {"name": "Ana"}
    assert not store.exists("quote", KEY.format(2))


def test_a_snapshot_is_not_restored_inside_a_transaction(store: Store) -> None:
    kept = store.snapshot()
    with store.transaction(), pytest.raises(StoreError, match="inside a transaction"):
        store.restore(kept)


def test_what_was_committed_survives_the_death_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "org.db"
    program = (
        "import os, sys\n"
        "from connector.emulator.world.schema_file import load_schema\n"
        "from connector.emulator.world.store import Store\n"
        "store = Store(sys.argv[1], load_schema())\n"
        "for number in range(50):\n"
        "    with store.transaction():\n"
        "        store.insert('account', {'accountid': f'k{number}'})\n"
        "store.transaction().__enter__()\n"
        "store.insert('account', {'accountid': 'not committed'})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    died = subprocess.run([sys.executable, "-c", program, str(path)], check=False, cwd=Path(__file__).parents[3])
    assert died.returncode == -9
    again = Store(path, load_schema())
    assert again.rows("SELECT count(*) FROM account") == [(50,)]
    assert again.version == 50
    again.close()


def test_another_process_reads_while_a_transaction_is_open(tmp_path: Path) -> None:
    store = Store(tmp_path / "org.db", load_schema())
    store.insert("account", {"accountid": KEY.format(1), "name": "Ana"})
    with store.transaction():
        store.update("account", KEY.format(1), {"name": "Bo"})
        reader = sqlite3.connect(tmp_path / "org.db")
        assert reader.execute("SELECT name FROM account").fetchall() == [("Ana",)]
    assert reader.execute("SELECT name FROM account").fetchall() == [("Bo",)]
    reader.close()
    store.close()


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "org.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="99"):
        Store(tmp_path / "org.db", load_schema())


def test_activities_of_both_kinds_are_one_table_to_readers(store: Store) -> None:
    store.insert("opportunityclose", {"activityid": KEY.format(1), "activitytypecode": "opportunityclose"})
    store.insert("quoteclose", {"activityid": KEY.format(2), "activitytypecode": "quoteclose"})
    found = store.rows("SELECT activitytypecode FROM activitypointer ORDER BY activityid")
    assert found == [("opportunityclose",), ("quoteclose",)]
