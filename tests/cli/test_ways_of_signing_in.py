"""Every way to sign in, through the command line, MSAL and TLS, to a close that is read back; and what goes wrong."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connector.emulator.background import ServedEmulator
from connector.emulator.identity.issuer import local_tenant
from tests.cli.desk import Desk
from tests.cli.signing import (
    Certificate,
    an_open_opportunity,
    by_secret,
    is_won,
    new_certificate,
    organization_of,
    place,
    rows,
    tenant_with,
)

NOBODY = "99999999-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return new_certificate()


@pytest.fixture(scope="module")
def emulator(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEmulator]:
    with organization_of(tenant_with(certificate), tmp_path_factory.mktemp("tenant")) as emulator:
        yield emulator


def assertion_file(emulator: ServedEmulator, path: Path) -> Path:
    """Write what a workload gets for its federated credential: here the managed identity's own token."""
    url = f"{emulator.url}/msi/token?resource=api://AzureADTokenExchange"
    request = urllib.request.Request(url, headers={"X-IDENTITY-HEADER": "any"})
    context = ssl.create_default_context(cafile=str(emulator.ca_file))
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:
        token = re.search(rb'"access_token":\s*"([^"]+)"', answer.read())
    assert token
    path.write_bytes(token[1])
    return path


# -- applications -----------------------------------------------------------------------------------------------------

Arrange = Callable[[ServedEmulator, Certificate, Path], dict[str, str]]

WAYS: dict[str, Arrange] = {
    "secret": lambda emulator, _, __: by_secret(emulator),
    "certificate PEM": lambda _, certificate, folder: {
        "DATAVERSE_CLIENT_CERTIFICATE": str(certificate.pem(folder / "one.pem"))
    },
    "certificate PEM with a password": lambda _, certificate, folder: {
        "DATAVERSE_CLIENT_CERTIFICATE": str(certificate.pem(folder / "one.pem", "open sesame")),
        "DATAVERSE_CLIENT_CERTIFICATE_PASSWORD": "open sesame",
    },
    "certificate PFX": lambda _, certificate, folder: {
        "DATAVERSE_CLIENT_CERTIFICATE": str(certificate.pfx(folder / "one.pfx"))
    },
    "certificate PFX with a password": lambda _, certificate, folder: {
        "DATAVERSE_CLIENT_CERTIFICATE": str(certificate.pfx(folder / "one.pfx", "open sesame")),
        "DATAVERSE_CLIENT_CERTIFICATE_PASSWORD": "open sesame",
    },
    "federated assertion": lambda emulator, _, folder: {
        "DATAVERSE_FEDERATED_TOKEN_FILE": str(assertion_file(emulator, folder / "assertion"))
    },
    "managed identity of an App Service": lambda emulator, _, __: {
        "DATAVERSE_MANAGED_IDENTITY": "system",
        "IDENTITY_ENDPOINT": f"{emulator.url}/msi/token",
        "IDENTITY_HEADER": "any",
    },
    "managed identity of a virtual machine": lambda emulator, _, __: {
        "DATAVERSE_MANAGED_IDENTITY": emulator.client_id,
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": emulator.url,
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_an_application_signs_in_and_closes(
    desk: Desk, emulator: ServedEmulator, certificate: Certificate, tmp_path: Path, way: str
) -> None:
    settings = WAYS[way](emulator, certificate, tmp_path)
    if "DATAVERSE_MANAGED_IDENTITY" not in settings:
        settings["DATAVERSE_CLIENT_ID"] = emulator.client_id
    opportunity = an_open_opportunity(emulator)
    said = desk.run("close", opportunity, "--won", "--yes", "--json", **{**place(emulator), **settings})
    assert (said.code, said.data["status"]) == (0, "closed"), said.err
    assert is_won(emulator, opportunity)
    doctor = desk.run("doctor", **{**place(emulator), **settings})
    assert doctor.code == 0, doctor.out


WRONG: dict[str, tuple[Arrange, str, str]] = {
    "a wrong password": (
        lambda _, certificate, folder: {
            "DATAVERSE_CLIENT_CERTIFICATE": str(certificate.pfx(folder / "one.pfx", "open sesame")),
            "DATAVERSE_CLIENT_CERTIFICATE_PASSWORD": "close sesame",
        },
        "wrong password",
        "DATAVERSE_CLIENT_CERTIFICATE_PASSWORD",
    ),
    "a missing password": (
        lambda _, certificate, folder: {
            "DATAVERSE_CLIENT_CERTIFICATE": str(certificate.pem(folder / "one.pem", "open sesame"))
        },
        "wrong password",
        "DATAVERSE_CLIENT_CERTIFICATE_PASSWORD",
    ),
    "a certificate without its key": (
        lambda _, certificate, folder: {"DATAVERSE_CLIENT_CERTIFICATE": write(folder / "one.pem", certificate.public)},
        "no certificate with its private key",
        "DATAVERSE_CLIENT_CERTIFICATE",
    ),
    "a file that is no certificate": (
        lambda _, __, folder: {"DATAVERSE_CLIENT_CERTIFICATE": write(folder / "one.pfx", "nothing of the kind")},
        "no certificate with its private key",
        "DATAVERSE_CLIENT_CERTIFICATE",
    ),
    "a certificate nobody has registered": (
        lambda _, __, folder: {"DATAVERSE_CLIENT_CERTIFICATE": str(new_certificate().pem(folder / "other.pem"))},
        "not registered with the application",
        "Upload it to the app registration",
    ),
    "an empty assertion": (
        lambda _, __, folder: {"DATAVERSE_FEDERATED_TOKEN_FILE": write(folder / "assertion", "\n")},
        "holds no assertion",
        "the workload that writes it",
    ),
    "an assertion for another": (
        lambda emulator, _, folder: {
            "DATAVERSE_FEDERATED_TOKEN_FILE": write(
                folder / "assertion", assertion_file(emulator, folder / "a").read_text()[:-9] + "AAAAAAAAA"
            )
        },
        "assertion",
        "app registration",
    ),
    "a machine without an identity": (
        lambda _, __, ___: {
            "DATAVERSE_MANAGED_IDENTITY": "system",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9",
        },
        "no managed identity",
        "DATAVERSE_MANAGED_IDENTITY",
    ),
    "another machine's identity": (
        lambda emulator, _, __: {
            "DATAVERSE_MANAGED_IDENTITY": NOBODY,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": emulator.url,
        },
        "no managed identity",
        "DATAVERSE_MANAGED_IDENTITY",
    ),
    "an unknown application": (
        lambda emulator, _, __: by_secret(emulator) | {"DATAVERSE_CLIENT_ID": NOBODY},
        "not known in this tenant",
        "DATAVERSE_CLIENT_ID",
    ),
    "another tenant": (
        lambda emulator, _, __: by_secret(emulator) | {"DATAVERSE_TENANT_ID": NOBODY},
        f"DATAVERSE_TENANT_ID is {NOBODY}",
        "Correct DATAVERSE_TENANT_ID",
    ),
}


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_one_sentence_with_its_remedy_and_changes_nothing(
    desk: Desk, emulator: ServedEmulator, certificate: Certificate, tmp_path: Path, wrong: str
) -> None:
    arrange, sentence, remedy = WRONG[wrong]
    settings = arrange(emulator, certificate, tmp_path)
    if "DATAVERSE_MANAGED_IDENTITY" not in settings:
        settings.setdefault("DATAVERSE_CLIENT_ID", emulator.client_id)
    before = rows(emulator)
    said = desk.run("close", an_open_opportunity(emulator), "--won", "--yes", **{**place(emulator), **settings})
    assert said.code == 1
    assert sentence in said.err
    assert remedy in said.err
    assert len(said.err.splitlines()) == 2, said.err
    assert "sesame" not in said.err
    assert rows(emulator) == before
    doctor = desk.run("doctor", **{**place(emulator), **settings})
    assert doctor.code == 1
    (line,) = (line for line in doctor.out.splitlines() if line.startswith("FAILED"))
    assert line.startswith("FAILED   sign-in: ")
    assert sentence in line
    assert remedy in line


def test_a_disabled_application_is_said_to_be_disabled(desk: Desk, tmp_path: Path) -> None:
    tenant = local_tenant()
    disabled = replace(tenant, applications=(replace(tenant.applications[0], disabled=True),))
    with organization_of(disabled, tmp_path / "disabled", seeded=1) as emulator:
        said = desk.run("close", NOBODY, "--won", "--yes", **by_secret(emulator))
    assert said.code == 1
    assert "The application is disabled." in said.err
    assert "Enterprise applications" in said.err


# -- people -----------------------------------------------------------------------------------------------------------


def start(settings: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "connector", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings},
    )


def as_a_person(emulator: ServedEmulator, folder: Path, way: str) -> dict[str, str]:
    return {
        **place(emulator),
        "DATAVERSE_CLIENT_ID": emulator.client_id,
        "DATAVERSE_SIGN_IN": way,
        "DATAVERSE_TOKEN_CACHE": str(folder / "kept" / "tokens.bin"),
    }


def test_a_person_signs_in_by_code_once_and_is_remembered(emulator: ServedEmulator, tmp_path: Path) -> None:
    settings = as_a_person(emulator, tmp_path, "device_code")
    opportunity = an_open_opportunity(emulator)
    process = start(settings, "close", opportunity, "--won", "--yes")
    assert process.stderr
    told = ""
    while not (code := re.search(r"enter the code (\w+)", told)):
        line = process.stderr.readline()
        assert line, told
        told += line
    assert f"{emulator.url}/devicelogin" in told
    emulator.emulator.control.device(code[1])
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Closed: " in out
    assert is_won(emulator, opportunity)
    kept = tmp_path / "kept" / "tokens.bin"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    again = start(settings, "close", opportunity, "--won", "--yes")
    out, err = again.communicate(timeout=120)
    assert (again.returncode, err) == (0, "")
    assert out.startswith("Already closed")


BROWSER = """
import html, re, ssl, sys, urllib.parse, urllib.request
context = ssl.create_default_context(cafile={ca!r})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}), urllib.request.HTTPSHandler(context=context))
page = opener.open(sys.argv[1], timeout=60).read().decode()
fields = {{name: html.unescape(value) for name, value in re.findall('name="([^"]+)" value="([^"]*)"', page)}}
opener.open(re.search('action="([^"]+)"', page)[1], urllib.parse.urlencode(fields).encode(), timeout=60).read()
"""


def plain_browser(emulator: ServedEmulator, folder: Path) -> str:
    """A browser that sends the form it is shown, as the script in the page has it do."""
    (folder / "browser.py").write_text(BROWSER.format(ca=str(emulator.ca_file)), encoding="utf-8")
    return f"{sys.executable} {folder / 'browser.py'} %s &"


def chromium(_: ServedEmulator, folder: Path) -> str:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium here")
    return (
        f"{found} --headless=new --no-sandbox --disable-gpu --ignore-certificate-errors --dump-dom "
        f"--user-data-dir={folder / 'profile'} %s &"
    )


@pytest.mark.parametrize("browser", [plain_browser, chromium])
def test_a_person_signs_in_with_the_browser_once_and_is_remembered(
    emulator: ServedEmulator, tmp_path: Path, browser: Callable[[ServedEmulator, Path], str]
) -> None:
    settings = as_a_person(emulator, tmp_path, "interactive") | {"BROWSER": browser(emulator, tmp_path)}
    opportunity = an_open_opportunity(emulator)
    out, err = start(settings, "close", opportunity, "--won", "--yes", "--json").communicate(timeout=120)
    assert '"status": "closed"' in out, err
    assert "A browser opens for signing in" in err
    assert is_won(emulator, opportunity)
    nobody = settings | {"BROWSER": "false"}
    out, err = start(nobody, "close", opportunity, "--won", "--yes", "--json").communicate(timeout=120)
    assert '"status": "already_closed"' in out, err
    assert err == ""


def test_a_person_who_is_no_user_of_the_organization_is_told_so(tmp_path: Path, certificate: Certificate) -> None:
    with organization_of(tenant_with(certificate), tmp_path / "tenant", seeded=2) as emulator:
        store = emulator.emulator.organization.store
        with store.transaction():
            store.execute("UPDATE systemuser SET azureactivedirectoryobjectid = NULL WHERE applicationid IS NULL")
        settings = as_a_person(emulator, tmp_path, "interactive") | {"BROWSER": plain_browser(emulator, tmp_path)}
        before = rows(emulator)
        process = start(settings, "close", NOBODY, "--won", "--yes")
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "0x80072560" in err
        assert "user" in err
        assert rows(emulator) == before
