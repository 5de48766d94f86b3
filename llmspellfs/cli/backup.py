"""`llmspellfs backup` and `restore-store`: a store copied while it is used, and brought back."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app
from llmspellfs.errors import InvalidValue

if TYPE_CHECKING:
    from pathlib import Path

    from llmspellfs.service.backup import BackupReport
    from llmspellfs.service.restoring import RestoreReport


@click.command(cls=Command)
@click.argument("dest")
@click.option("--no-hardlink", is_flag=True, help="Copy chunks even where they could be linked.")
@click.pass_context
@pass_app
def backup(app: App, ctx: click.Context, dest: str, no_hardlink: bool) -> None:
    """Copy the store, as it is at one moment, into the folder DEST.

    Mounts and scripts go on meanwhile. DEST is new, empty, or an earlier backup of this store: then only what is new is
    copied. It is a store itself, for fsck and for restore-store. Exits with 1 if chunks are missing in the store or
    found to be harmed there, or contents are not whole in its index, and names them; sound copies of them in DEST stay.
    """
    store = app.open()
    _refuse_mount(store.path, dest)
    with render.Bar("backing up") as bar:
        report = store.upkeep.backup(dest, hardlink=not no_hardlink, progress=bar.update)
    render.outcome(_backup_line(report), _backup_json(report), as_json=app.json)
    for chunk in (*report.missing, *report.harmed):
        render.note(_harm_line(report, chunk))
    for content in report.lacking:
        render.note(f"content {content} is not whole in the store's index: see llmspellfs fsck")
    ctx.exit(render.FAILED if report.missing or report.harmed or report.lacking else 0)


def _harm_line(report: BackupReport, chunk: str) -> str:
    how = "missing" if chunk in report.missing else "harmed"
    kept = f", and sound in the backup (blobs/{chunk[:2]})" if chunk in report.kept else ""
    return f"chunk {chunk} is {how} in the store itself{kept}: see llmspellfs fsck"


def _refuse_mount(store: Path | None, dest: str) -> None:
    """Raise InvalidValue where *dest* is within a mount of the *store*: its copy would be part of it."""
    from llmspellfs.cli.mounts import mount_points

    place = os.path.realpath(dest)
    for mount in mount_points(store):
        if os.path.commonpath([place, os.path.realpath(mount)]) == os.path.realpath(mount):
            raise InvalidValue(dest, f"it is inside the store's mount at {mount}")


def _backup_json(report: BackupReport) -> dict[str, Any]:
    from llmspellfs.cli.views import iso

    said = asdict(report)
    return {**said, "at": iso(said.pop("at_ns"))}


def _backup_line(report: BackupReport) -> str:
    from llmspellfs.cli.views import human_size, iso

    moment = f"event {report.event}, change {report.change}, {iso(report.at_ns)}"
    brought = f"{report.linked} linked, {report.copied} copied ({human_size(report.copied_bytes)})"
    return f"{report.path}: {moment}: {brought}, {report.removed} removed"


@click.command("restore-store", cls=Command)
@click.argument("src")
@click.option("--to", "target", metavar="DIR", help="Where to (else where --store or the configuration say).")
@click.option("--force", is_flag=True, help="Move a store that is there aside, to a dated name.")
@click.option("--harmed", is_flag=True, help="Bring what is sound of a harmed backup, and name what is not.")
@click.pass_context
@pass_app
def restore_store(app: App, ctx: click.Context, src: str, target: str | None, force: bool, harmed: bool) -> None:
    """Make a store of the backup SRC, every chunk checked on the way.

    It is the store that was backed up: sessions keep their ids. Where a store is, it is refused without --force, and
    with it that store is moved aside, never deleted; what is no store stays where it is. A backup of which anything
    does not read back is refused without --harmed; with it that is left out, and the exit status is 1.
    """
    from llmspellfs.service.restoring import restore_store as restore

    config = app.load_config()
    network, place = config.allow_network_store, target or app.store_path(config)
    with render.Bar("restoring") as bar:
        report = restore(src, place, force=force, harmed=harmed, allow_network=network, progress=bar.update)
    render.outcome(_restore_line(report), asdict(report), as_json=app.json)
    for what in report.harmed:
        render.note(f"{what} is harmed in the backup: llmspellfs fsck says whose it is")
    ctx.exit(render.FAILED if report.harmed else 0)


def _restore_line(report: RestoreReport) -> str:
    from llmspellfs.cli.views import human_size
    from llmspellfs.model.shown import count

    aside = f"; what was there is now {report.moved_aside}" if report.moved_aside else ""
    harmed = f", {len(report.harmed)} harmed and left out" if report.harmed else ""
    held = f"{count(report.contents, 'content')}, {count(report.chunks, 'chunk')}"
    brought = f"{held}, {human_size(report.stored_bytes)}, all checked"
    return f"store: {report.path}: {brought}{harmed}{aside}"
