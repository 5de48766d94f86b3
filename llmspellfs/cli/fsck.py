"""The command `fsck`: a store checked, what is wrong named, and, if asked to, repaired as far as its bytes allow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app, refuse_memory
from llmspellfs.errors import Corrupt, StoreUnusable
from llmspellfs.model.event import Origin
from llmspellfs.model.shown import visible

if TYPE_CHECKING:
    from llmspellfs.service.check_findings import FsckReport


@click.command(cls=Command)
@click.option("--quick/--full", default=False, help="Leave out the bytes of content; --full, the default, reads all.")
@click.option("--repair", is_flag=True, help="Mend what can be. Nobody else may have the store open.")
@click.option("--from", "backup", metavar="BACKUP", help="With --repair: a backup of the store that has lost content.")
@click.pass_context
@pass_app
def fsck(app: App, ctx: click.Context, quick: bool, repair: bool, backup: str | None) -> None:
    """Check every chunk, row, reference and chain.

    Names each problem and the artifacts that it harms. Exits with 0 if nothing is wrong, or nothing any more after
    --repair, and with 1 if problems are left. A repair deletes nothing: the index as it was, and all that is taken
    out, stay in the store's folder `quarantine`. What is left is lost for good, or comes back --from a backup.
    """
    from llmspellfs.cli.reports import fsck_lines

    if backup is not None and (quick or not repair):
        raise click.UsageError("--from needs --repair, and not --quick")
    with render.Bar("checking") as bar:
        report = _repaired(app, bar, quick=quick, backup=backup) if repair else _checked(app, bar, quick=quick)
    if app.json:
        render.say_json(report.document())
    else:
        for line in fsck_lines(report):
            render.say(visible(line))
    ctx.exit(0 if report.ok else render.FAILED)


def _checked(app: App, bar: render.Bar, *, quick: bool) -> FsckReport:
    try:
        store = app.open()
    except (Corrupt, StoreUnusable) as error:
        from llmspellfs.service.repair import unopenable

        return unopenable(app.store_path(app.load_config()), error)
    return store.upkeep.fsck(progress=bar.update, quick=quick)


def _repaired(app: App, bar: render.Bar, *, quick: bool, backup: str | None) -> FsckReport:
    from llmspellfs.service.repair import repair

    config = app.load_config()
    refuse_memory(config)
    origin, source = Origin(f"uid:{os.getuid()}", "cli"), None if backup is None else Path(backup)
    return repair(app.store_path(config), config, origin=origin, quick=quick, backup=source, progress=bar.update)
