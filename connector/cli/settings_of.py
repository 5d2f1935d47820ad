"""The settings of this command line, for every command that needs them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from connector.cli.record_id import check_addresses
from connector.cli.run_options import LOG_FORMAT
from connector.settings.environment import load
from connector.settings.settings import Settings


def read_settings(env_file: Path | None) -> Settings:
    """Return the settings, and log on stderr as much as they say. Raises SettingsError, with all that is wrong.

    Raises click.UsageError when the command line names a record by the address of another organization.
    """
    settings = load(env_file=env_file)
    check_addresses(settings.url)
    logging.basicConfig(stream=sys.stderr, level=settings.log_level, format=LOG_FORMAT)  # no effect after --verbose
    return settings
