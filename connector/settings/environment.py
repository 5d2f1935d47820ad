"""The settings: the environment and a `.env` file, read once into one frozen value. Nothing else reads the environment.

The environment wins over the file. A setting that is empty counts as absent. Everything that is wrong is said at once.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from connector.closing.bypass import Bypass, read_bypass
from connector.errors import SettingsError
from connector.settings.service_settings import COLLECTORS, ServiceSettings
from connector.settings.settings import Settings, identities, no_identities, text_of
from connector.settings.variables import EMULATOR_SCHEME, Variables, sentences

_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*", re.ASCII)
_VALUES = (
    # the forms of a value, with all that may follow it
    re.compile(r"'(?P<literal>[^']*)'\s*(?:#.*)?"),
    re.compile(r'"(?P<escaped>(?:[^"\\]|\\.)*)"\s*(?:#.*)?'),
    re.compile(r"(?P<bare>(?!['\"#])(?:\S|\s+(?![\s#]))*)\s*(?:(?<=\s)#.*)?"),
    re.compile(r"(?P<literal>)#.*"),
)


def _assignment(line: str) -> tuple[str, str] | None:
    """Return name and value of a line, or None when it is none."""
    name = _NAME.match(line)
    if name is None:
        return None
    match = next(filter(None, (form.fullmatch(line, name.end()) for form in _VALUES)), None)
    if match is None:
        return None
    parts = match.groupdict()
    if "escaped" in parts:
        return name[1], re.sub(r"\\(.)", lambda code: "\n" if code[1] == "n" else code[1], parts["escaped"])
    return name[1], parts["bare"].strip() if "bare" in parts else parts["literal"]


# Not python-dotenv: it reads the same text, but tells only a log what it cannot read, and a quote that is not closed
# takes in the lines that follow. Here every wrong line has its number.
def parse_env(text: str) -> tuple[dict[str, str], list[int]]:
    """Return the values of a `.env` text, and the numbers of the lines that are no `NAME=value`.

    `export`, comments and quotes are understood: single quotes keep everything, double quotes know backslash escapes
    of a quote, a backslash and `n`. An unquoted value ends before white space followed by `#`.
    """
    values: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assignment = _assignment(line)
        if assignment is None:
            wrong.append(number)
        else:
            values[assignment[0]] = assignment[1]
    return values, wrong


Model = TypeVar("Model", bound=BaseModel)
ENV_FILE = Path(".env")
SETTINGS = {str(field.alias): field for model in (Variables, ServiceSettings) for field in model.model_fields.values()}
"""Every setting by its name, with its default and the sentence that explains it."""
_OURS = ("DATAVERSE_", "CONNECTOR_")


def load(
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    options: Mapping[str, str] = MappingProxyType({}),
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """Return the settings of `environ` (default: this process's) over those of `env_file`, and `options` over both.

    `defaults` stand for what none of them says.

    Without `env_file` the file `.env` of the current folder is read if there is one. Raises SettingsError, which
    names every problem in a sentence of its own.

    >>> load_settings({"DATAVERSE_URL": "emulator:"}).atomic
    True
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    values = {**defaults, **{name: value for name, value in _file_values(env_file, problems).items() if value}}
    values |= {name: value.strip() for name, value in environ.items() if name.startswith(_OURS) and value.strip()}
    problems += _misspelt(values, environ)
    values |= options
    variables = _parsed(Variables, values, problems, {"DATAVERSE_URL": "https://unknown.invalid"})
    service = _parsed(ServiceSettings, values, problems, {})
    more_problems: list[str] = []
    settings = _settings(variables, service, environ, more_problems)
    # What is already known to be wrong is not said to be missing as well.
    wrong = [problem.partition(" ")[0] for problem in problems]
    problems += [problem for problem in more_problems if not any(name in problem for name in wrong)]
    if problems:
        remedy = "`connector init` writes settings that work; `connector init --example` explains each."
        raise SettingsError("\n".join(problems), remedy=remedy)
    return settings


def commented(values: Mapping[str, str]) -> str:
    """Return the text of a settings file: every setting explained, those of `values` set, the others as comments."""
    paragraphs = ["# Settings of the connector. The environment wins over this file. `connector doctor` checks them."]
    for name, field in SETTINGS.items():
        lines = textwrap.wrap(str(field.description), 116, break_on_hyphens=False, break_long_words=False)
        default = field.default.value if isinstance(field.default, Enum) else field.default
        shown = f"{default:g}" if isinstance(default, float) else str(default) if isinstance(default, str | int) else ""
        setting = f"{name}={values[name]}" if name in values else f"#{name}={'auto' if default is True else shown}"
        paragraphs.append("\n".join([*(f"# {line}" for line in lines), setting]))
    return "\n\n".join(paragraphs) + "\n"


def wants_colors() -> bool:
    """Return whether the environment allows colors: NO_COLOR (no-color.org) is empty and the terminal is not dumb."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _parsed(model: type[Model], values: Mapping[str, str], problems: list[str], instead: Mapping[str, str]) -> Model:
    """Return what is right of `values` (else `instead`, else the default), and add a sentence for each that is not."""
    named = {
        str(field.alias): values[str(field.alias)] for field in model.model_fields.values() if field.alias in values
    }
    try:
        return model.model_validate(named)
    except ValidationError as error:
        problems += sentences(error)
        wrong = {problem["loc"][0] for problem in error.errors()}
        return model.model_validate({**instead, **{name: value for name, value in named.items() if name not in wrong}})


def _misspelt(values: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each name that is none of ours; other programs may own a CONNECTOR_ in the environment."""
    problems = []
    for name in sorted(values):
        if name in SETTINGS or (name in environ and not name.startswith("DATAVERSE_")):
            continue
        import difflib

        close = difflib.get_close_matches(name, SETTINGS, n=1)
        problems.append(f"{name} is no setting of the connector{f'; did you mean {close[0]}?' if close else '.'}")
    return problems


_AS_THEY_ARE = (
    "url", "tenant_id", "authority", "close_action", "time_zone", "drafts", "connect_timeout", "read_timeout",
    "retry_seconds", "metadata_seconds", "connections", "log_days", "log_level",
)  # fmt: skip


def _settings(names: Variables, service: ServiceSettings, environ: Mapping[str, str], problems: list[str]) -> Settings:
    emulator = Path(names.url.removeprefix(EMULATOR_SCHEME)) if names.url.startswith(EMULATOR_SCHEME) else None
    state = _state_folder(environ)
    return Settings(
        **{name: getattr(names, name) for name in _AS_THEY_ARE},
        emulator=emulator,
        identities=no_identities(names, problems) if emulator else identities(names, problems),
        emulator_plugins=tuple(Path(file) for file in names.emulator_plugins.split(os.pathsep) if file),
        ca_file=names.ca_file or _bundle(environ, problems),
        proxy=names.proxy or _first(environ, "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
        no_proxy=_first(environ, "NO_PROXY", "no_proxy"),
        impersonate=names.caller_object_id,
        lost_revenue=Decimal(0) if names.lost_revenue == "zero" else None,
        bypass=_bypass(names, problems),
        atomic=names.atomic == "auto",
        token_cache=names.token_cache or state / "tokens.bin",
        state=state,
        store=names.store or str(state / "jobs.db"),
        service=service.model_copy(update={"telemetry": service.telemetry and bool(_first(environ, *COLLECTORS))}),
    )


def _bypass(names: Variables, problems: list[str]) -> Bypass:
    try:
        return read_bypass(names.bypass, names.bypass_steps, names.tag)
    except ValueError as error:
        problems.append(f"DATAVERSE_BYPASS, DATAVERSE_BYPASS_STEPS, DATAVERSE_TAG: {error}.")
        return Bypass()


def _bundle(environ: Mapping[str, str], problems: list[str]) -> Path | None:
    """Return the file of authorities that the environment names for every program, if any."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := environ.get(name, "").strip():
            if not Path(path).exists():
                problems.append(f"{name} names {path}, which does not exist: correct it, or set DATAVERSE_CA_FILE.")
            return Path(path)
    return None


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name].strip() for name in names if environ.get(name, "").strip()), "")


def _state_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder where this user's programs keep their state, by the custom of the platform."""
    try:
        home = Path(_first(environ, "HOME", "USERPROFILE") or "~").expanduser()
    except RuntimeError:  # a container may run as a user that has no name and no home
        return Path(".state")
    if sys.platform == "win32":
        state = Path(_first(environ, "LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        state = home / "Library" / "Application Support"
    else:
        state = Path(_first(environ, "XDG_STATE_HOME") or home / ".local" / "state")
    return state / "dataverse-close-connector"


def _file_values(env_file: Path | None, problems: list[str]) -> dict[str, str]:
    path = env_file or ENV_FILE
    if env_file is None and not path.is_file():
        return {}
    try:
        values, wrong = parse_env(text_of(path))
    except UnicodeDecodeError:
        raise SettingsError(f"The settings file {path} is not UTF-8.", remedy="Save it as UTF-8.") from None
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    problems += [f"Line {number} of {path} is not NAME=value; quote a value with spaces or quotes." for number in wrong]
    return {name: value for name, value in values.items() if name.startswith(_OURS)}
