"""What is declared of a field: its kind, its names, its words, and where its value goes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FieldKind(Enum):
    """What a field holds; `closing.request` reads and writes each kind."""

    RECORD_ID = "record id"
    RECORD_NAME = "record id or name"
    """A record by its id or address, or by what people call it: a quote's number, a name, a mail address."""
    OUTCOME = "outcome"
    REASON = "status reason"
    DAY = "day"
    AMOUNT = "amount"
    TEXT = "text"
    DRAFTS = "policy for drafts"
    FLAG = "yes or no"
    COLUMNS = "columns"
    """The organization's own columns of a close activity: in a file a column each, `TABLE.NAME`."""
    RECORD_IDS = "record ids"


class Prominence(Enum):
    """How a designer shows a field; its value is `x-ms-visibility`."""

    IMPORTANT = "important"
    NORMAL = ""
    ADVANCED = "advanced"


@dataclass(frozen=True, slots=True)
class CloseField:
    """One field of an intent, as every door offers it.

    `name` is the column of a file and the name in the ledger; with hyphens it is the command-line `flag`, in camelCase
    the wire name, each unless given. `attribute` is the intent's, if it has another name. `sentence` says what it is,
    `absent` what holds without it. Agents are offered it where `for_agents` is a sentence (True: the same one). `table`
    is where a record, a status reason or extra columns belong; `limit` the most characters of a text. `column` is the
    column of `opportunityclose` that takes the value, `quote_column` that of `quoteclose`. A field that is not `hosted`
    is not offered to callers of the endpoint.
    """

    name: str
    kind: FieldKind
    label: str
    sentence: str
    absent: str = ""
    attribute: str = ""
    flag: str = ""
    wire: str = ""
    table: str = ""
    limit: int | None = None
    required: bool = False
    prominence: Prominence = Prominence.NORMAL
    for_agents: str | bool = False
    column: str = ""
    quote_column: str = ""
    hosted: bool = True

    @property
    def key(self) -> str:
        """Return the intent's attribute."""
        return self.attribute or self.name

    @property
    def option(self) -> str:
        """Return the command line's option, as `--closed-on`."""
        return f"--{self.flag or self.name.replace('_', '-')}"

    @property
    def wire_name(self) -> str:
        """Return the name in JSON, as `closedOn`."""
        head, *words = (self.wire or self.name).split("_")
        return head + "".join(word.capitalize() for word in words)

    @property
    def prefix(self) -> str:
        """Return what the columns of a file begin with that belong to a field of extra columns."""
        return f"{self.table}."

    @property
    def text(self) -> str:
        """Return the whole description."""
        return f"{self.sentence} {self.absent}".rstrip()

    @property
    def agent_text(self) -> str:
        """Return the description for agents; empty where they are not offered it."""
        return self.for_agents if isinstance(self.for_agents, str) else self.text if self.for_agents else ""
