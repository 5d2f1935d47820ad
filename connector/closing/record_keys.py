"""Records by the keys that people have: a legacy number, a competitor's name, a user's mail address.

A key is looked up before anything is planned, and must have exactly one record. A quote's number needs no lookup: it
is looked for among the quotes of the opportunity (see `closing.plan`).
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeGuard
from uuid import UUID

from connector.closing.intent import AnyIntent, Intent
from connector.errors import InputError

COMPETITOR, USER, OPPORTUNITY = "competitor", "systemuser", "opportunity"
"""The tables whose records may be named by a key."""

_CANDIDATES = 5
"""Records of an ambiguous key that a message names."""
_WHAT = {COMPETITOR: "competitor", USER: "user", OPPORTUNITY: "opportunity"}
_ASK = {
    COMPETITOR: "Check the name, or give the competitor's id.",
    USER: "Give the mail address, the domain name, the Entra object id or the user id of a user who can be seen.",
    OPPORTUNITY: "Check the value, or give the opportunity's id.",
}


@dataclass(frozen=True, slots=True)
class RecordKey:
    """The value of a column of a table, which is to name one record.

    A competitor has the column `name`. A user has none: the value is an id, a domain name or a mail address. A key of
    several columns has commas between them, and between its values, quoted as in a file of commas.

    >>> str(RecordKey("opportunity", "new_company,new_number", "A,7"))
    "the opportunity with new_company 'A' and new_number '7'"
    """

    table: str
    column: str
    value: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns."""
        return tuple(name.strip() for name in self.column.split(","))

    @property
    def values(self) -> tuple[str, ...]:
        """Return a value for each column; too few or too many where there are not as many."""
        return (self.value,) if len(self.columns) == 1 else tuple(next(csv.reader([self.value]), ()))

    def __str__(self) -> str:
        """Return it for people."""
        parts = list(itertools.zip_longest(self.columns, self.values, fillvalue="nothing"))
        named = " and ".join(f"{column} {value!r}" for column, value in parts)
        return f"the {_WHAT[self.table]} {repr(self.value) if self.table != OPPORTUNITY else f'with {named}'}"


def joined(values: Sequence[str]) -> str:
    """Return the value of a key of several columns."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class RecordMatch:
    """A record that has a key: its id (of a user the Entra object id), its name, and why it cannot be used, if so."""

    id: UUID
    name: str
    problem: str = ""


class KeyLookup(Protocol):
    """An organization in which records can be looked up by their keys."""

    def look_up(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, Sequence[RecordMatch]]:
        """Return the records that have each key, few requests for many keys.

        Raises InputError for a column that is not there or cannot be a key, else ConnectorError.
        """


def one_of(key: RecordKey, matches: Sequence[RecordMatch]) -> UUID:
    """Return the id of the one record that has a key; raises InputError, with the candidates where there are more."""
    if len(matches) == 1 and not matches[0].problem:
        return matches[0].id
    if not matches:
        raise InputError(f"There is no {str(key).removeprefix('the ')} that this user can see.", remedy=_ASK[key.table])
    if len(matches) == 1:
        problem = f"{str(key).capitalize()} ({matches[0].name}) {matches[0].problem}."
        raise InputError(problem, remedy="Let an administrator change that, or name another, or none.")
    listed = ", ".join(f"{match.id} ({match.name})" for match in matches[:_CANDIDATES])
    more = f" and {len(matches) - _CANDIDATES:,} more" if len(matches) > _CANDIDATES else ""
    raise InputError(
        f"{len(matches)} records can be {key}: {listed}{more}.", remedy=f"Give the {_WHAT[key.table]}'s id."
    )


def keys_in(intent: Intent) -> Iterator[RecordKey]:
    """Yield the keys in an intent: a name in the place of an id, and any user, whose id may be of two kinds."""
    if isinstance(intent.competitor_id, str):
        yield RecordKey(COMPETITOR, "name", intent.competitor_id)
    if intent.as_user is not None:
        yield RecordKey(USER, "", str(intent.as_user))


def with_ids(intent: Intent, id_of: Callable[[RecordKey], UUID]) -> Intent:
    """Return an intent with ids in the place of its keys; raises what `id_of` raises."""
    attributes = {COMPETITOR: "competitor_id", USER: "as_user"}
    ids = {attributes[key.table]: id_of(key) for key in keys_in(intent)}
    return replace(intent, **ids) if ids else intent  # type: ignore[arg-type]  # ids for attributes that hold ids


def names_user(intent: Intent) -> Intent:
    """Return an intent whose user, if it has one, is text: it is looked up even where it is an id."""
    return intent if intent.as_user is None else replace(intent, as_user=str(intent.as_user))


def look_up_all(organization: KeyLookup, intents: Sequence[AnyIntent]) -> list[AnyIntent | InputError]:
    """Return the intents with ids in the place of text, or why one has none; raises what looking up raises."""
    keys = tuple(dict.fromkeys(key for intent in intents if _has_text(intent) for key in keys_in(intent)))
    matches = organization.look_up(keys) if keys else {}

    def resolved(intent: AnyIntent) -> AnyIntent | InputError:
        if not _has_text(intent):
            return intent
        try:
            return with_ids(intent, lambda key: one_of(key, matches.get(key, ())))
        except InputError as error:
            return error

    return [resolved(intent) for intent in intents]


def _has_text(intent: AnyIntent) -> TypeGuard[Intent]:
    return isinstance(intent, Intent) and (isinstance(intent.competitor_id, str) or isinstance(intent.as_user, str))
