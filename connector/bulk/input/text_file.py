"""The lines of a text file: UTF-8, UTF-16 with its mark, or an older encoding that is named or guessed."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

from connector.errors import InputError

LONGEST_LINE = 1_000_000
"""Characters in a line; no row of ours comes near, but a file that is no text does."""

_PIECE = 2**16
_SAMPLE = 2**18
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as the next does
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MARK = "\ufeff"
_END_OF_FILE = "\x1a"
"""With which DOS and what comes from it end a text."""
_GUESSES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "cp932", "gb18030"]
_LETTER_OF_UTF_8 = re.compile(rb"\xc3[\x80-\xbf]")
_WORD = re.compile(r"\w*[^\x00-\x7f]+\w*")


def encoding_of(path: Path, named: str, notes: list[str]) -> str:
    """Return the encoding of a text file: the one named, that of its mark, UTF-8, or a guess, which goes to `notes`.

    Raises InputError for an encoding that nobody knows.
    """
    if named:
        try:
            return codecs.lookup(named).name
        except LookupError:
            raise InputError(
                f"{named!r} is not an encoding.", remedy="Say --encoding utf-8, cp1252 (Western Europe) or another."
            ) from None
    with path.open("rb") as file:
        begins = file.read(64)
    marked = next((encoding for mark, encoding in _MARKS.items() if begins.startswith(mark)), "")
    if marked:
        return marked
    guess = _without_mark(begins)
    sample = begins if guess else _not_utf_8(path)
    if sample is None:
        return "utf-8"
    guess = guess or _guess(sample)
    if not guess:
        return "utf-8"
    if guess == "cp1252":
        _refuse_mixed(path)
    word = _WORD.search(sample.decode(guess, errors="replace"))
    shown = f", for example {word[0]!r}" if word else ""
    notes.append(f"The text is not UTF-8; it is read as {guess}, which is a guess{shown}. Say it with --encoding.")
    return guess


def decoded(content: bytes) -> str:
    """Return a small text in UTF-8, or in UTF-16 with its mark, as Windows PowerShell writes it. Raises ValueError."""
    return content.decode("utf-16" if content[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else "utf-8-sig")


def _without_mark(begins: bytes) -> str:
    """Return the kind of UTF-16 in which text of plain letters has a zero byte in every other place, if it is so."""
    even, odd = begins[0::2], begins[1::2]
    if odd and not any(odd) and all(even):
        return "utf-16-le"
    return "utf-16-be" if odd and not any(even) and all(odd) else ""


def _not_utf_8(path: Path) -> bytes | None:
    """Return a sample around the first byte that is not UTF-8; None where there is none, or where it is damage.

    A byte is damage where characters of UTF-8 stand before it, or zero bytes beside it: its line says so when read.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while block := file.read(_SAMPLE):
            try:
                if not decoder.decode(block).isascii():
                    return None
            except UnicodeDecodeError as error:
                damaged = not block[: error.start].isascii() or b"\0" in block
                return None if damaged else block
    return None


def _refuse_mixed(path: Path) -> None:
    """Raise InputError where a text that is not UTF-8 has letters of UTF-8 too: files in both were put together."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(partial(file.readline, _SAMPLE), b""), 1):
            if _LETTER_OF_UTF_8.search(line):
                raise InputError(
                    f"{path} is partly UTF-8 (line {number}) and partly not.",
                    remedy="Save its parts in one encoding, or say --encoding cp1252 if that line is right so.",
                )


def _guess(sample: bytes) -> str:
    """Return the likeliest encoding of a sample; Western European where another is no likelier."""
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=_GUESSES)
    best = matches.best()
    if best is None:
        return ""
    western = next((match for match in matches if match.encoding == "cp1252"), None)
    as_good = western is not None and (western.chaos, -western.coherence) <= (best.chaos, -best.coherence)
    return "cp1252" if as_good or "cp1252" in best.could_be_from_charset else best.encoding


def lines_of(path: Path, encoding: str) -> Iterator[str]:
    """Return the lines of a text file with their ends, whatever these are; bounded, and surely text."""
    for number, line in enumerate(_pieces(path, encoding, LONGEST_LINE + 1), 1):
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"{path}, line {number}: the line is longer than {LONGEST_LINE:,} characters.",
                remedy="Check that this is the right file and that its lines end.",
            )
        yield line


def pieces_of(path: Path, encoding: str) -> Iterator[str]:
    """Return the lines of a text file, long ones in pieces: bounded however long a line is."""
    return _pieces(path, encoding, _PIECE)


def _pieces(path: Path, encoding: str, longest: int) -> Iterator[str]:
    errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors=errors, newline="") as text:
        number = 1
        while line := _read(path, text, number, longest):
            if not line.isascii() and (wrong := _UNDECODED.search(line)):
                raise InputError(
                    f"{path}, line {number}: the byte 0x{ord(wrong[0]) - 0xDC00:02x} is not {_spoken(encoding)}.",
                    remedy=_SAVE_AGAIN,
                )
            if "\0" in line:
                raise InputError(
                    f"{path}, line {number}: there is a zero byte, so this is no text in {_spoken(encoding)}.",
                    remedy="Save the file as UTF-8 (in Excel: CSV UTF-8), or say its --format.",
                )
            yield line.removeprefix(_MARK).rstrip(_END_OF_FILE)  # where files were put together
            number += line.endswith(("\n", "\r"))


_UNDECODED = re.compile("[\udc80-\udcff]")
_SAVE_AGAIN = "Save the file as UTF-8 (in Excel: CSV UTF-8), or say its --encoding."


def _spoken(encoding: str) -> str:
    return "UTF-8" if encoding.startswith("utf-8") else encoding


def _read(path: Path, text: TextIO, number: int, longest: int) -> str:
    try:
        return text.readline(longest)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, near line {number}: this is not {error.encoding}, which the file begins as.", remedy=_SAVE_AGAIN
        ) from None
