"""Records that are named by a key are found, or told in a sentence with those that could be meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from connector.closing.close import fulfil_many, preview
from connector.closing.model import Intent, Outcome, ReportStatus
from connector.closing.record_keys import (
    COMPETITOR,
    OPPORTUNITY,
    USER,
    RecordKey,
    RecordMatch,
    joined,
    keys_in,
    look_up_all,
    names_user,
    one_of,
    with_ids,
)
from connector.errors import Broken, InputError
from tests.closing.small_organization import OPPORTUNITY_ID, SmallOrganization, organization

NAME = RecordKey(COMPETITOR, "name", "Contoso")
MAIL = RecordKey(USER, "", "anna@contoso.com")
OLD_NUMBER = RecordKey(OPPORTUNITY, "new_legacyid", "A-1")
ONE = RecordMatch(UUID(int=1), "Contoso")
INTENT = Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id="Contoso", as_user="anna@contoso.com")


def many(number: int) -> list[RecordMatch]:
    return [RecordMatch(UUID(int=each), f"Contoso {each}") for each in range(1, number + 1)]


def test_one_record_is_meant() -> None:
    assert one_of(NAME, [ONE]) == ONE.id


@pytest.mark.parametrize(
    ("key", "matches", "message", "remedy"),
    [
        (NAME, [], "There is no competitor 'Contoso' that this user can see.", "Check the name, or give the competitor's id."),
        (
            MAIL,
            [],
            "There is no user 'anna@contoso.com' that this user can see.",
            "Give the mail address, the domain name, the Entra object id or the user id of a user who can be seen.",
        ),
        (
            OLD_NUMBER,
            [],
            "There is no opportunity with new_legacyid 'A-1' that this user can see.",
            "Check the value, or give the opportunity's id.",
        ),
        (
            NAME,
            [RecordMatch(UUID(int=1), "Contoso", "is inactive")],
            "The competitor 'contoso' (Contoso) is inactive.",
            "Let an administrator change that, or name another, or none.",
        ),
        (
            NAME,
            many(2),
            f"2 records can be the competitor 'Contoso': {UUID(int=1)} (Contoso 1), {UUID(int=2)} (Contoso 2).",
            "Give the competitor's id.",
        ),
    ],
)  # fmt: skip
def test_none_one_that_cannot_be_used_and_several_are_told(
    key: RecordKey, matches: list[RecordMatch], message: str, remedy: str
) -> None:
    with pytest.raises(InputError) as refused:
        one_of(key, matches)
    assert (refused.value.message, refused.value.remedy) == (message, remedy)


def test_of_many_candidates_five_are_told_and_the_others_counted() -> None:
    with pytest.raises(InputError, match=r"^5 records can be the competitor 'Contoso': .*\(Contoso 5\)\. Give"):
        one_of(NAME, many(5))
    with pytest.raises(InputError, match=r"^1005 records .*\(Contoso 5\) and 1,000 more\. Give"):
        one_of(NAME, many(1005))


def test_an_intent_names_its_competitor_and_its_user() -> None:
    assert list(keys_in(INTENT)) == [NAME, MAIL]
    by_id = Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id=ONE.id, as_user=UUID(int=2))
    assert list(keys_in(by_id)) == [RecordKey(USER, "", str(UUID(int=2)))]
    assert list(keys_in(Intent(OPPORTUNITY_ID, Outcome.LOST))) == []


def test_ids_take_the_place_of_keys() -> None:
    resolved = with_ids(INTENT, {NAME: ONE.id, MAIL: UUID(int=2)}.__getitem__)
    assert (resolved.competitor_id, resolved.as_user) == (ONE.id, UUID(int=2))
    plain = Intent(OPPORTUNITY_ID, Outcome.LOST)
    assert with_ids(plain, {NAME: ONE.id}.__getitem__) is plain


def test_the_value_of_a_key_of_several_columns_is_written_and_read_as_in_a_file_of_commas() -> None:
    assert RecordKey(OPPORTUNITY, "new_company,new_number", joined(['A "B"', "7,5"])).values == ('A "B"', "7,5")


def test_a_user_is_looked_up_even_by_its_id() -> None:
    plain = Intent(OPPORTUNITY_ID, Outcome.LOST)
    assert names_user(plain) is plain
    assert names_user(Intent(OPPORTUNITY_ID, Outcome.LOST, as_user=UUID(int=2))).as_user == str(UUID(int=2))


def test_of_many_intents_each_is_resolved_or_told_why_not() -> None:
    small = organization()
    small.named = {"Contoso": (ONE,), "anna@contoso.com": (RecordMatch(UUID(int=2), "Anna"),)}
    plain, unknown = Intent(OPPORTUNITY_ID, Outcome.WON), Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id="Nobody")
    first, second, third = look_up_all(small, [INTENT, plain, unknown])
    assert isinstance(first, Intent)
    assert (first.competitor_id, first.as_user) == (ONE.id, UUID(int=2))
    assert second is plain
    assert isinstance(third, InputError)
    assert "'Nobody'" in third.message


class Unreachable(SmallOrganization):
    def look_up(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, Sequence[RecordMatch]]:
        raise Broken("The service failed.", status=503)


def test_closes_whose_keys_cannot_be_looked_up_fail_and_nothing_is_written() -> None:
    small = Unreachable(organization().rows)
    failed, other = fulfil_many(small, [INTENT, replace(INTENT, opportunity_id=UUID(int=4))])
    assert (failed.opportunity_id, other.opportunity_id) == (OPPORTUNITY_ID, UUID(int=4))
    assert failed.status is other.status is ReportStatus.FAILED
    assert isinstance(failed.error, Broken)
    assert small.calls == 0


def test_a_key_that_nobody_has_fails_its_own_close_alone() -> None:
    small, plain = organization(), Intent(OPPORTUNITY_ID, Outcome.LOST)
    unknown = replace(INTENT, opportunity_id=UUID(int=4))
    failed, closed = fulfil_many(small, [unknown, plain])
    assert (failed.status, closed.status) == (ReportStatus.FAILED, ReportStatus.CLOSED)
    assert isinstance(failed.error, InputError)
    with pytest.raises(InputError, match="'Contoso'"):
        preview(small, INTENT)
