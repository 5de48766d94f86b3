"""`llmspellfs export` and `import`: sessions as a file of their own."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from llmspellfs.cli import params, render
from llmspellfs.cli.app import App, Command, pass_app
from llmspellfs.cli.params import size
from llmspellfs.errors import AlreadyExists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmspellfs.service.exporting import ExportReport
    from llmspellfs.service.importing import ImportReport
    from llmspellfs.service.store import Store

_ZSTD = bytes.fromhex("28b52ffd")
"""What an archive begins with, being a Zstandard frame (RFC 8878, 3.1.1)."""


@click.command(cls=Command)
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True)
@click.argument("file")
@click.option("--history/--no-history", default=True, help="All that they ever were, or only what they are.")
@click.option("--no-metadata", is_flag=True, help="Leave out descriptions, tags and metadata; with --no-history.")
@click.option("--force", is_flag=True, help="Replace FILE even if it is no archive.")
@pass_app
def export(app: App, sessions: tuple[str, ...], file: str, history: bool, no_metadata: bool, force: bool) -> None:
    """Write sessions into FILE, a .tar.zst that `import` takes, or to stdout (-).

    It needs nothing else: trails, rows, checkpoints, attributes, and each content once. An older archive of that name
    is replaced.
    """
    store = app.open()
    if not force:
        _check_target(store, file)
    with render.Bar("exporting", is_bytes=True) as bar, _target(file) as out:
        report = store.archive.export(
            sessions, out, history=history, metadata=not no_metadata, progress=bar.update
        )  # fmt: skip
    if file == "-" or not os.path.isfile(file):  # a pipe may be stdout by another name
        return
    render.outcome(_export_line(report, file), {"file": file, **_said(asdict(report))}, as_json=app.json)


def _check_target(store: Store, file: str) -> None:
    """Raise AlreadyExists where *file* is no archive, and click.UsageError where it is a session's name."""
    if os.path.isfile(file):
        with open(file, "rb") as there:
            if there.read(len(_ZSTD)) not in {_ZSTD, b""}:
                raise AlreadyExists("file", f"{file}, which is no archive (--force replaces it)")
    elif "/" not in file and any(each.dirname == file for each in store.sessions.list()):
        raise click.UsageError(f"FILE comes last, and {file!r} is a session (./{file} is a file of that name)")


@contextmanager
def _target(path: str) -> Iterator[BinaryIO]:
    """Lend a file that gets the name *path* once it is whole; nothing is left of it on failure.

    What has that name and is no regular file is written to.
    """
    from llmspellfs.service.outgoing import replacing

    render.flush()
    with nullcontext(sys.stdout.buffer) if path == "-" else replacing(path, is_private=True) as file:
        if file.isatty():
            raise click.UsageError("an archive is not for a terminal: redirect stdout, or name a file")
        yield file
        file.flush()


def _export_line(report: ExportReport, file: str) -> str:
    from llmspellfs.cli.views import human_size
    from llmspellfs.model.shown import count

    held = f"{count(len(report.sessions), 'session')}, {count(report.contents, 'content')}"
    return f"{file}: {held} of {human_size(report.content_bytes)}, {human_size(os.stat(file).st_size)} packed"


@click.command("import", cls=Command)
@click.argument("file")
@click.option("--as", "name", metavar="NAME", help="As a new session called NAME.")
@click.option("--dry-run", is_flag=True, help="Verify all of it, and make nothing.")
@click.option("--max-size", default="64G", show_default=True, metavar="SIZE", help="Of all that is packed in it.")
@click.option("--max-entries", type=params.IntRange(1), default=1_000_000, show_default=True, metavar="N",
              help="Of files, rows and events together.")  # fmt: skip
@pass_app
def import_(app: App, file: str, name: str | None, dry_run: bool, max_size: str, max_entries: int) -> None:
    """Make the sessions in FILE, which `export` wrote, or that stdin (-) gives.

    Nothing is to be seen of them before every hash in it is verified. With their history they keep their ids, and are
    refused where the store has them; --as, or an archive without history, makes new ones.
    """
    from llmspellfs.model.archive import Limits

    store = app.open(create=True)
    limits = Limits(max_entries, size(max_size))
    with render.Bar("importing", is_bytes=True) as bar, _source(file) as source:
        report = store.archive.import_(source, name=name, dry_run=dry_run, limits=limits, progress=bar.update)
    render.outcome(_import_line(report), _said(asdict(report)), as_json=app.json)


@contextmanager
def _source(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    with open(path, "rb") as file:
        yield file


def _said(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report's fields as JSON has them."""
    sessions = [
        {"id": one[0], "dirname": one[1]} if isinstance(one, tuple) else dict(one) for one in report["sessions"]
    ]
    return {**report, "sessions": sessions}


def _import_line(report: ImportReport) -> str:
    from llmspellfs.cli.views import human_size
    from llmspellfs.model.shown import count

    names = ", ".join(session.dirname for session in report.sessions)
    size_ = human_size(report.content_bytes)
    is_one = len(report.sessions) == 1
    known = f", {report.known} of them here already" if report.known else ""
    verdict = "verified, nothing made" if report.dry_run else "imported"
    past = "with history" if report.history else f"as {'a ' * is_one}new session{'s' * (not is_one)}"
    return f"{names}: {verdict}, {past}: {count(report.contents, 'content')} of {size_}{known}"
