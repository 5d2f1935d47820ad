from __future__ import annotations

import connector


def test_every_public_name_loads_and_there_are_at_most_fifteen() -> None:
    assert len(connector.__all__) <= 15
    assert set(connector.__all__) == set(connector._HOMES)
    for name in connector.__all__:
        assert callable(getattr(connector, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(connector, "close_everything")
