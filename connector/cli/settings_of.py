"""The settings of this command line, for every command that needs them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from connector.cli.record_id import check_addresses
from connector.cli.run_options import LOG_FORMAT
from connector.settings.environment import load
from connector.settings.settings import Settings

_OPTIONS = {
    "connector.bypass": "DATAVERSE_BYPASS",
    "connector.bypass_steps": "DATAVERSE_BYPASS_STEPS",
    "connector.tag": "DATAVERSE_TAG",
}
"""Options of the command line that stand before a setting (see `run_options.bypass_options`)."""


def _options() -> dict[str, str]:
    context = click.get_current_context(silent=True)
    return {setting: context.meta[key] for key, setting in _OPTIONS.items() if key in context.meta} if context else {}


def read_settings(env_file: Path | None) -> Settings:
    """Return the settings, and log on stderr as much as they say. Raises SettingsError, with all that is wrong.

    Raises click.UsageError when the command line names a record by the address of another organization.
    """
    settings = load(env_file=env_file, options=_options())
    check_addresses(settings.url)
    logging.basicConfig(stream=sys.stderr, level=settings.log_level, format=LOG_FORMAT)  # no effect after --verbose
    return settings
