"""Settings: read once, checked at once, and every problem named in a sentence."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.closing.model import DraftPolicy
from connector.errors import SettingsError
from connector.settings.environment import SETTINGS, commented, load, parse_env
from connector.settings.variables import SignInMethod

ROOT = Path(__file__).resolve().parents[1]
CLIENT = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
REAL = {
    "DATAVERSE_URL": "https://contoso.crm4.dynamics.com",
    "DATAVERSE_CLIENT_ID": CLIENT,
    "DATAVERSE_CLIENT_SECRET": "abc8Q~notreal",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that no `.env` of the checkout is read."""
    monkeypatch.chdir(tmp_path)


def problems(environ: dict[str, str], env_file: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as failure:
        load(environ, env_file)
    return failure.value.message.splitlines()


def test_a_url_and_a_secret_are_enough() -> None:
    settings = load(REAL)
    assert settings.url == "https://contoso.crm4.dynamics.com"
    assert settings.emulator is None
    assert [identity.sign_in for identity in settings.identities] == [SignInMethod.SECRET]
    assert settings.drafts is DraftPolicy.ACTIVATE
    assert settings.atomic


@pytest.mark.parametrize("url", ["emulator:.state/emulator.db", "emulator:"])
def test_the_embedded_emulator_needs_nothing_else(url: str) -> None:
    settings = load({"DATAVERSE_URL": url})
    assert settings.emulator == Path(".state/emulator.db")
    assert settings.identities == ()


@pytest.mark.parametrize(
    "pasted",
    [
        "https://Contoso.crm4.dynamics.com/",
        "https://contoso.crm4.dynamics.com:443",
        "https://contoso.crm4.dynamics.com/main.aspx?appid=1&pagetype=dashboard",
        "https://contoso.crm4.dynamics.com/api/data/v9.2/",
    ],
)
def test_an_address_pasted_from_a_browser_is_understood(pasted: str) -> None:
    assert load({**REAL, "DATAVERSE_URL": pasted}).url == "https://contoso.crm4.dynamics.com"


@pytest.mark.parametrize(
    "wrong",
    [
        "http://contoso.crm4.dynamics.com",
        "contoso.crm4.dynamics.com",
        "https://",
        "https://me@contoso.crm4.dynamics.com",
        "https://contoso.crm4.dynamics.com\\@evil.example",
        "https://host:port",
    ],
)
def test_a_wrong_address_is_refused_with_an_example(wrong: str) -> None:
    (said,) = problems({**REAL, "DATAVERSE_URL": wrong})
    assert said.startswith("DATAVERSE_URL ")
    assert "as in" in said or "write it as" in said


def test_everything_missing_is_named_at_once() -> None:
    said = problems({})
    assert any(line.startswith("DATAVERSE_URL is missing") for line in said)
    assert any("DATAVERSE_CLIENT_ID" in line and "DATAVERSE_CLIENT_SECRET" in line for line in said)


def test_every_problem_is_named_at_once_and_no_secret_with_it() -> None:
    said = problems(
        {
            "DATAVERSE_URL": "contoso",
            "DATAVERSE_CLIENT_ID": "not-an-id",
            "DATAVERSE_CLIENT_SECRT": "s3cr3t",
            "DATAVERSE_READ_TIMEOUT": "ten",
            "DATAVERSE_DRAFTS": "burn",
            "DATAVERSE_CA_FILE": "gone.pem",
        }
    )
    names = [line.split()[0] for line in said]
    assert {
        "DATAVERSE_URL",
        "DATAVERSE_CLIENT_ID",
        "DATAVERSE_CLIENT_SECRT",
        "DATAVERSE_READ_TIMEOUT",
        "DATAVERSE_DRAFTS",
        "DATAVERSE_CA_FILE",
    } <= set(names)
    assert "did you mean DATAVERSE_CLIENT_SECRET?" in "\n".join(said)
    assert "s3cr3t" not in "\n".join(said)


@pytest.mark.parametrize(
    ("name", "kind"), [("DATAVERSE_CONNECTIONS", "whole number"), ("DATAVERSE_READ_TIMEOUT", "valid number")]
)
def test_a_number_that_is_none_is_told_in_plain_words(name: str, kind: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} should be a {kind}\."):
        load({"DATAVERSE_URL": "emulator::memory:", name: "2 or 3"})


def test_a_name_of_another_program_is_left_alone() -> None:
    assert load({**REAL, "CONNECTOR_OF_SOMETHING_ELSE": "1", "PATH": "/bin"})


def test_an_empty_setting_is_an_absent_one() -> None:
    assert load({**REAL, "DATAVERSE_TENANT_ID": "  "}).tenant_id == ""


def test_real_credentials_beside_the_emulator_do_not_go_unnoticed() -> None:
    (said,) = problems({**REAL, "DATAVERSE_URL": "emulator:state.db"})
    assert "DATAVERSE_CLIENT_SECRET" in said
    assert "set DATAVERSE_URL to the organization's address" in said


def test_secrets_never_show(tmp_path: Path) -> None:
    key = tmp_path / "key.pfx"
    key.write_bytes(b"x")
    settings = load(
        {**REAL, "DATAVERSE_PROXY": "http://user:pass-word@proxy:8080", "CONNECTOR_STORE": "postgresql://u:pw@h/d"}
    )
    certified = load(
        {
            **REAL,
            "DATAVERSE_CLIENT_SECRET": "",
            "DATAVERSE_CLIENT_CERTIFICATE": str(key),
            "DATAVERSE_CLIENT_CERTIFICATE_PASSWORD": "hush-hush",
        }
    )
    shown = f"{settings!r} {certified!r} {certified.identities[0]}"
    for secret in ("abc8Q~notreal", "pass-word", "u:pw", "hush-hush"):
        assert secret not in shown


def test_two_ways_to_sign_in_must_be_decided(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("assertion")
    both = {**REAL, "DATAVERSE_FEDERATED_TOKEN_FILE": str(token)}
    (said,) = problems(both)
    assert "DATAVERSE_SIGN_IN" in said
    assert load({**both, "DATAVERSE_SIGN_IN": "federated"}).identities[0].sign_in is SignInMethod.FEDERATED


@pytest.mark.parametrize("way", ["certificate", "federated", "managed_identity"])
def test_a_way_without_what_it_needs_says_what(way: str) -> None:
    (said,) = problems({**REAL, "DATAVERSE_SIGN_IN": way})
    assert "is missing" in said


def test_a_managed_identity_needs_no_client_id() -> None:
    url = REAL["DATAVERSE_URL"]
    system = load({"DATAVERSE_URL": url, "DATAVERSE_MANAGED_IDENTITY": "system"}).identities[0]
    chosen = load({"DATAVERSE_URL": url, "DATAVERSE_MANAGED_IDENTITY": CLIENT.upper()}).identities[0]
    assert (system.sign_in, system.managed_identity) == (SignInMethod.MANAGED_IDENTITY, "")
    assert chosen.managed_identity == CLIENT


@pytest.mark.parametrize("way", ["device_code", "interactive"])
def test_a_person_needs_only_the_application(way: str) -> None:
    settings = load({"DATAVERSE_URL": REAL["DATAVERSE_URL"], "DATAVERSE_CLIENT_ID": CLIENT, "DATAVERSE_SIGN_IN": way})
    assert settings.identities[0].sign_in == way


def test_more_identities_come_from_a_file(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text(f'[[identity]]\nname = "second"\nclient_id = "{OTHER}"\nclient_secret = "hidden"\n')
    settings = load({**REAL, "DATAVERSE_IDENTITIES": str(more)})
    assert [identity.name for identity in settings.identities] == ["default", "second"]
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not toml", "cannot be read as TOML"),
        ("[identities]", "must hold"),
        ('[[identity]]\nname = "b"\nclient_id = "x"', "client_id must be an id"),
        (f'[[identity]]\nname = "b"\nclient_id = "{OTHER}"', "no way to sign in"),
        (f'[[identity]]\nname = "b"\nclient_id = "{OTHER}"\nclient_secrt = "s3cr3t"', "client_secrt is not known"),
        (f'[[identity]]\nname = "b"\nclient_id = "{CLIENT}"\nclient_secret = "s3cr3t"', "twice"),
    ],
)
def test_what_is_wrong_in_the_file_of_identities_is_said(tmp_path: Path, content: str, said: str) -> None:
    more = tmp_path / "more.toml"
    more.write_text(content)
    found = "\n".join(problems({**REAL, "DATAVERSE_IDENTITIES": str(more)}))
    assert said in found
    assert "s3cr3t" not in found


def test_an_explicit_authority_file_wins_over_the_one_every_program_uses(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    ours.touch()
    theirs.touch()
    everybody = {**REAL, "REQUESTS_CA_BUNDLE": str(theirs)}
    assert load(everybody).ca_file == theirs
    assert load({**everybody, "DATAVERSE_CA_FILE": str(ours)}).ca_file == ours
    assert load(REAL).ca_file is None
    assert "CURL_CA_BUNDLE" in problems({**REAL, "CURL_CA_BUNDLE": "gone.pem"})[0]


def test_an_explicit_proxy_wins_over_the_one_every_program_uses() -> None:
    everybody = {**REAL, "https_proxy": "http://theirs:1", "NO_PROXY": "a.example"}
    assert load(everybody).proxy == "http://theirs:1"
    assert load(everybody).no_proxy == "a.example"
    assert load({**everybody, "DATAVERSE_PROXY": "http://ours:2"}).proxy == "http://ours:2"
    assert problems({**REAL, "DATAVERSE_PROXY": "ours:2"})[0].startswith("DATAVERSE_PROXY")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATAVERSE_URL=emulator:from-file.db\nCONNECTOR_LOG_LEVEL=INFO\n")
    assert load({}).url == "emulator:from-file.db"
    settings = load({"DATAVERSE_URL": "emulator:from-environment.db"})
    assert settings.url == "emulator:from-environment.db"
    assert settings.log_level == "INFO"


def test_a_file_in_another_encoding_is_said_and_nothing_else_is_taken_for_missing(tmp_path: Path) -> None:
    (tmp_path / "old.env").write_text("DATAVERSE_URL=emulator:ä.db\n", encoding="cp1252")
    (said,) = problems({}, tmp_path / "old.env")
    assert said.endswith("old.env is not UTF-8.")


def test_files_that_windows_powershell_wrote_are_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATAVERSE_URL=emulator:ä.db\r\n", encoding="utf-16")
    assert load({}).url == "emulator:ä.db"
    listed = f"[[identity]]\r\nname = 'ä'\r\nclient_id = '{UUID(int=1)}'\r\nclient_secret = 's'\r\n"
    (tmp_path / "ours.toml").write_text(listed, encoding="utf-16")
    settings = load({**REAL, "DATAVERSE_IDENTITIES": str(tmp_path / "ours.toml")})
    assert "ä" in [identity.name for identity in settings.identities]


def test_a_user_without_a_home_has_a_place_for_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)  # as in a container whose user has no name
    assert load({"DATAVERSE_URL": "emulator:x.db"}).state == Path(".state")


def test_a_file_named_that_is_not_there_or_not_readable_is_said(tmp_path: Path) -> None:
    assert "cannot be read" in problems(REAL, tmp_path / "gone.env")[0]
    (tmp_path / "half.env").write_text('DATAVERSE_URL="emulator:x\n')
    assert "Line 1 of" in problems({}, tmp_path / "half.env")[0]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("export A=plain", "plain"),
        ("A = spaced ", "spaced"),
        ("A=two words # and a comment", "two words"),
        ("A=with#hash", "with#hash"),
        ("A='single # \"quoted\" \\n' # comment", 'single # "quoted" \\n'),
        ('A="double \\"quoted\\" \\\\ \\n"', 'double "quoted" \\ \n'),
        ("A=", ""),
        ("A= # nothing", ""),
        ("\ufeffA=after a mark", "after a mark"),
        ("A=first=second", "first=second"),
    ],
)
def test_a_line_of_the_file_is_read(line: str, value: str) -> None:
    assert parse_env(line) == ({"A": value}, [])


@pytest.mark.parametrize("line", ["no assignment", "A='open", 'A="open', "A='x' y", "1A=x", "=x"])
def test_a_line_that_is_none_is_counted(line: str) -> None:
    assert parse_env(f"# comment\r\n\r\n{line}\r\nB=2") == ({"B": "2"}, [3])


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])))
def test_whatever_is_quoted_comes_back(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_env(f'A="{escaped}"') == ({"A": value}, [])


@given(st.text())
def test_no_file_makes_reading_fail(text: str) -> None:
    values, wrong = parse_env(text)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in values)
    assert all(number > 0 for number in wrong)


def explained() -> dict[str, str]:
    """Return each name in .env.example with the comment that stands over it."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        assignment = re.fullmatch(r"#?([A-Z][A-Z_]+)=.*", line)
        if assignment:
            assert assignment[1] not in found
            found[assignment[1]] = " ".join(comment)
        comment = [*comment, line.removeprefix("# ")] if line.startswith("# ") else []
    return found


def test_the_example_explains_every_setting_in_the_words_of_the_settings() -> None:
    assert explained() == {name: field.description for name, field in SETTINGS.items()}


def test_the_example_is_what_init_writes() -> None:
    written = commented({"DATAVERSE_URL": "emulator:.state/emulator.db"})
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == written


def test_the_example_works_as_it_stands_and_with_every_default_switched_on(tmp_path: Path) -> None:
    example = ROOT / ".env.example"
    assert load({}, example).emulator == Path(".state/emulator.db")
    switched_on = tmp_path / "all.env"
    switched_on.write_text(re.sub(r"(?m)^#([A-Z_]+=)", r"\1", example.read_text(encoding="utf-8")), encoding="utf-8")
    assert load({}, switched_on) == load({}, example)
