"""`connector demo`: opportunities of an emulator are closed over HTTP, and a witness reads back what came of it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from connector.assembly import connect
from connector.cli.failures import ExitCode
from connector.cli.options import json_option, verbose_option
from connector.cli.results import print_json
from connector.cli.tables import Table, show
from connector.cli.views import show_preview, show_report
from connector.clock import SystemClock
from connector.closing.close import Preview
from connector.closing.model import OrganizationMetadata, Report
from connector.closing.report import preview_data, report_data
from connector.demo import Fact, Scene, Witness, choose, is_verified, play, running_emulator
from connector.settings.environment import load


@click.command()
@json_option
@verbose_option
def demo(*, as_json: bool) -> int:
    """Close opportunities of a local emulator and check the result, in one go.

    Nothing is needed and nothing is left behind: the emulator serves made-up data from a temporary folder.
    """
    clock, scenes = SystemClock(), dict[str, Scene]()
    with tempfile.TemporaryDirectory(prefix="connector-demo-") as folder, running_emulator(Path(folder)) as ready:
        connection = connect(load({}, ready.env_file))
        try:
            witness = Witness(ready)
            _say(f"An emulated organization answers at {ready.url}, with data made up for it.", as_json=as_json)
            for scene in play(connection.organization, witness, choose(witness), clock):
                scenes[scene.name] = scene
                if not as_json:
                    _show(scene, connection.organization.metadata())
        finally:
            connection.close()
    verified = is_verified(scenes)
    if as_json:
        print_json({"verified": verified, "url": ready.url, **{name: _data(scene) for name, scene in scenes.items()}})
    else:
        click.echo("\nVerified: everything is as it should be." if verified else "\nNOT verified: see above.")
    return ExitCode.DONE if verified else ExitCode.FAILED


def _say(sentence: str, *, as_json: bool) -> None:
    click.echo(sentence, err=as_json)


def _show(scene: Scene, metadata: OrganizationMetadata) -> None:
    click.echo(f"\n== {scene.title}")
    if isinstance(scene.shown, Preview):
        show_preview(scene.shown, metadata, sys.stdout)
    elif isinstance(scene.shown, Report):
        show_report(scene.shown, metadata, sys.stdout)
    else:
        rows = tuple(
            (fact.name, str(fact.expected), str(fact.found), "yes" if fact.holds else "NO") for fact in scene.shown
        )
        show(Table("Read back over HTTP", ("fact", "expected", "found", "holds"), rows), sys.stdout)


def _data(scene: Scene) -> object:
    if isinstance(scene.shown, Preview):
        return preview_data(scene.shown)
    if isinstance(scene.shown, Report):
        return report_data(scene.shown)
    return [_fact_data(fact) for fact in scene.shown]


def _fact_data(fact: Fact) -> dict[str, object]:
    return {"fact": fact.name, "expected": fact.expected, "found": fact.found, "holds": fact.holds}
