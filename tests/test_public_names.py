from __future__ import annotations

from importlib.resources import files
from uuid import UUID

import pytest

import connector
from connector import Intent, Outcome, ReopenIntent
from connector.errors import InputError


def test_every_public_name_loads_and_there_are_at_most_fifteen() -> None:
    assert len(connector.__all__) <= 15
    assert set(connector.__all__) == set(connector._HOMES)
    for name in connector.__all__:
        assert callable(getattr(connector, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(connector, "close_everything")


def test_those_who_check_types_find_ours() -> None:
    assert (files("connector") / "py.typed").is_file()


def test_text_in_the_place_of_an_id_or_an_outcome_is_told_before_anything_is_asked() -> None:
    text = "00000003-0000-4000-8000-000000000001"
    for make in (lambda: Intent(text, Outcome.WON), lambda: ReopenIntent(text)):  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"which is no UUID\. Give uuid\.UUID\('\.\.\.'\)"):
            make()
    with pytest.raises(InputError, match=r"outcome is 'won'\. Give Outcome\.WON or Outcome\.LOST"):
        Intent(UUID(text), "won")  # type: ignore[arg-type]
