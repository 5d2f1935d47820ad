from __future__ import annotations

import email.parser
import email.policy
from email.message import Message
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.dataverse.batch import (
    Applied,
    ChangeSet,
    Missing,
    Part,
    Refused,
    SetAnswer,
    match_change_sets,
    read_batch,
    write_batch,
)
from connector.dataverse.webapi import Operation
from connector.errors import InputError
from connector.handler import Response

FIXTURES = Path(__file__).parent.parent / "fixtures" / "dataverse"
READ = Operation("GET", "WhoAmI")
WRITE = Operation("POST", "CloseQuote", '{"Status":5}')
BOUNDARY = "batchresponse_1"


def recorded(name: str, status: int = 200) -> Response:
    body = (FIXTURES / name).read_bytes()
    boundary = body.split(b"\r\n", 1)[0].removeprefix(b"--").decode()
    return Response(status, (("Content-Type", f"multipart/mixed; boundary={boundary}"),), body)


def answer(*parts: str, end: str = f"--{BOUNDARY}--\r\n", quoted: bool = False) -> Response:
    boundary = f'"{BOUNDARY}"' if quoted else BOUNDARY
    body = "".join(f"--{BOUNDARY}\r\n{part}\r\n" for part in parts) + end
    return Response(200, (("Content-Type", f"multipart/mixed; boundary={boundary}"),), body.encode())


def message(status: int, content_id: int | None = None, body: str = "") -> str:
    number = "" if content_id is None else f"Content-ID: {content_id}\r\n"
    head = f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{number}\r\n"
    return f"{head}HTTP/1.1 {status} Whatever\r\nREQ_ID: r{content_id}\r\nOData-Version: 4.0\r\n\r\n{body}"


def change_set(*messages: str, name: str = "changesetresponse_1") -> str:
    inner = "".join(f"--{name}\r\n{text}\r\n" for text in messages)
    return f"Content-Type: multipart/mixed; boundary={name}\r\n\r\n{inner}--{name}--\r\n"


def fates(response: Response, *sizes: int) -> list[Applied | Refused | Missing]:
    answers = read_batch(response)
    assert answers is not None
    return match_change_sets(answers, sizes)


# --- writing ---


def test_a_batch_is_written_as_the_documents_have_it() -> None:
    body = write_batch(
        [ChangeSet((WRITE, Operation("DELETE", "quotes(1)", "", 'W/"1"'))), READ], "batch_1", [("A", "b")]
    )
    assert body.decode() == (
        "--batch_1\r\n"
        'Content-Type: multipart/mixed; boundary="changeset_1_batch_1"\r\n'
        "\r\n"
        "--changeset_1_batch_1\r\n"
        "Content-Type: application/http\r\n"
        "Content-Transfer-Encoding: binary\r\n"
        "Content-ID: 1\r\n"
        "\r\n"
        "POST /api/data/v9.2/CloseQuote HTTP/1.1\r\n"
        "A: b\r\n"
        "Content-Type: application/json; type=entry\r\n"
        "\r\n"
        '{"Status":5}\r\n'
        "--changeset_1_batch_1\r\n"
        "Content-Type: application/http\r\n"
        "Content-Transfer-Encoding: binary\r\n"
        "Content-ID: 2\r\n"
        "\r\n"
        "DELETE /api/data/v9.2/quotes(1) HTTP/1.1\r\n"
        "A: b\r\n"
        'If-Match: W/"1"\r\n'
        "\r\n"
        "\r\n"
        "--changeset_1_batch_1--\r\n"
        "\r\n"
        "--batch_1\r\n"
        "Content-Type: application/http\r\n"
        "Content-Transfer-Encoding: binary\r\n"
        "\r\n"
        "GET /api/data/v9.2/WhoAmI HTTP/1.1\r\n"
        "A: b\r\n"
        "\r\n"
        "\r\n"
        "--batch_1--\r\n"
    )


def test_a_batch_holds_a_thousand_operations_and_no_more() -> None:
    write_batch([ChangeSet((WRITE,) * 4)] * 250, "batch_1")
    with pytest.raises(InputError, match="1000 operations, not 1001"):
        write_batch([ChangeSet((WRITE,) * 4)] * 250 + [READ], "batch_1")


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\x85"))
operations = st.builds(
    Operation,
    method=st.sampled_from(["POST", "PATCH", "DELETE"]),
    path=st.from_regex(r"[a-zA-Z()0-9-]{1,30}", fullmatch=True),
    body=words.map(lambda text: text and f'{{"subject": "{text}"}}'),
    if_match=st.sampled_from(["", "*", 'W/"12345"']),
)
entries = st.lists(operations | st.lists(operations, min_size=1).map(lambda some: ChangeSet(tuple(some))), max_size=6)


def parts_of(message: Message) -> list[Message]:
    return cast("list[Message]", message.get_payload())


def read_back(part: Message) -> Operation:
    head, _, body = str(part.get_payload()).partition("\n\n")
    lines = head.split("\n")
    method, path, _ = lines[0].split(" ")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    return Operation(method, path.removeprefix("/api/data/v9.2/"), body, fields.get("If-Match", ""))


@given(entries=entries)
def test_the_standard_librarys_reader_finds_what_was_written(entries: list[Operation | ChangeSet]) -> None:
    body = write_batch(entries, "batch_1").decode()
    assert body.count("\n") == body.count("\r\n")
    head = 'Content-Type: multipart/mixed; boundary="batch_1"\r\n\r\n'
    whole = email.parser.Parser(policy=email.policy.compat32).parsestr((head + body).replace("\r\n", "\n"))
    assert whole.defects == [] or not entries
    found: list[Operation | ChangeSet] = []
    numbers: list[int] = []
    for part in parts_of(whole) if entries else []:
        if part.get_content_type() == "application/http":
            found.append(read_back(part))
            continue
        found.append(ChangeSet(tuple(read_back(inner) for inner in parts_of(part))))
        numbers += [int(inner["Content-ID"]) for inner in parts_of(part)]
    assert found == entries
    assert numbers == sorted(set(numbers))


# --- reading ---


def test_a_documented_change_set_is_applied() -> None:
    answers = read_batch(recorded("batch_change_set.http"))
    assert answers is not None
    assert match_change_sets(answers, [3]) == [Applied()]
    last = answers[1]
    assert isinstance(last, Part)
    assert last.response.status == 200
    assert last.response.body.startswith(b"{")


def test_a_batch_that_stopped_is_read_although_it_answers_400() -> None:
    answers = read_batch(recorded("batch_stopped.http", 400))
    assert answers is not None
    first, second = match_change_sets(answers, [1, 1])
    assert isinstance(first, Refused)
    assert first.response.header("REQ_ID") == "5ecd1cb3-1730-4ffc-909c-d44c22270026"
    assert isinstance(second, Missing)


@pytest.mark.parametrize("quoted", [False, True])
def test_a_failed_change_set_names_the_operation_and_the_others_stand(*, quoted: bool) -> None:
    response = answer(
        change_set(message(204, 1), message(204, 2)),
        change_set(message(400, 4, '{"error":{}}'), name="changesetresponse_2"),
        change_set(message(204, 6), name="changesetresponse_3"),
        quoted=quoted,
    )
    first, second, third = fates(response, 2, 3, 1)
    assert (first, third) == (Applied(), Applied())
    assert isinstance(second, Refused)
    assert (second.index, second.response.status, second.response.body) == (1, 400, b'{"error":{}}')


def test_a_failed_change_set_is_read_without_its_wrapper_too() -> None:
    refused, applied = fates(answer(message(412, 2), change_set(message(204, 3))), 2, 1)
    assert isinstance(refused, Refused)
    assert (refused.index, applied) == (1, Applied())


def test_answers_without_numbers_are_matched_by_order() -> None:
    response = answer(change_set(message(204), message(204)), change_set(message(500)))
    assert [type(fate) for fate in fates(response, 2, 2)] == [Applied, Refused]


def test_interim_answers_inside_a_part_are_passed_over() -> None:
    interim = message(204, 1).replace("HTTP/1.1 204", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204")
    response = answer(change_set(interim, message(204, 2)))
    assert [type(fate) for fate in fates(response, 2)] == [Applied]


@pytest.mark.parametrize(
    "part",
    [
        change_set(message(204, 1)),
        change_set(message(204, 1), message(204, 2), message(204, 3)),
        change_set(message(204, 2), message(204, 1)),
        change_set(message(204, 7), message(204, 8)),
        change_set(message(400, 9)),
        change_set(message(302, 1), message(204, 2)),
        change_set(),
        message(204, 1),
        "Content-Type: application/http\r\n\r\nnot HTTP at all",
        "Content-Type: application/http",
        "",
    ],
    ids=[
        "too few",
        "too many",
        "swapped",
        "foreign",
        "foreign failure",
        "redirect",
        "none",
        "bare",
        "no HTTP",
        "head",
        "",
    ],
)
def test_an_answer_that_does_not_fit_leaves_its_change_set_and_all_behind_it_unknown(part: str) -> None:
    response = answer(part, change_set(message(204, 3), name="changesetresponse_2"))
    assert fates(response, 2, 1) == [Missing(), Missing()]


def test_what_is_missing_is_unknown() -> None:
    assert fates(answer(change_set(message(204, 1))), 1, 1, 2) == [Applied(), Missing(), Missing()]
    assert fates(answer(), 1) == [Missing()]


@pytest.mark.parametrize(
    "content_type", ["application/json; odata.metadata=minimal", "text/html", "multipart/mixed", "", None]
)
def test_what_is_not_multipart_is_not_the_answer_to_a_batch(content_type: str | None) -> None:
    headers = () if content_type is None else (("Content-Type", content_type),)
    assert read_batch(Response(200, headers, b"--x--")) is None


def test_an_answer_cut_anywhere_never_claims_more_than_it_shows() -> None:
    whole = recorded("batch_change_set.http")
    end_of_set = whole.body.index(b"--changesetresponse_64cc3fff-023a-45b0-b29d-df21583ffa15--")
    for cut in range(len(whole.body)):
        fate = fates(Response(200, whole.headers, whole.body[:cut]), 3)
        assert fate == [Missing()] or (cut > end_of_set and fate == [Applied()])


@given(
    body=st.binary()
    | st.lists(
        st.sampled_from(
            [
                b"--b",
                b"--",
                b"\r\n",
                b"\n",
                b"Content-Type: multipart/mixed; boundary=b",
                b"Content-ID: 1",
                b"HTTP/1.1 204 OK",
                b"HTTP/1.1 400 \xff",
                b":",
            ]
        )
    ).map(b"".join)
)
def test_no_bytes_break_the_reader(body: bytes) -> None:
    answers = read_batch(Response(200, (("Content-Type", "multipart/mixed; boundary=b"),), body))
    assert answers is not None
    assert len(match_change_sets(answers, [2, 1])) == 2
    assert all(isinstance(part, Part | SetAnswer) for part in answers)
