"""`llmspellfs artifact`: artifacts stored, read, listed, and kept or dropped."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from llmspellfs.cli import history as past
from llmspellfs.cli import params, render, replay
from llmspellfs.cli.app import App, Group, pass_app
from llmspellfs.errors import AlreadyExists, NotFound

if TYPE_CHECKING:
    from llmspellfs.model.artifact import Artifact
    from llmspellfs.service.store import Store


@click.group(cls=Group)
def artifact() -> None:
    """Store, read and list artifacts. REF is SESSION:NAME or an artifact's id."""


for _command in (*past.OF_ARTIFACTS, *replay.OF_ARTIFACTS):
    artifact.add_command(_command)


@artifact.command()
@click.argument("session")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--name", help="Its name in the session (else the file's own).")
@click.option("--type", "artifact_type", help="user_input, tool_result, agent_output, system_generated, or your own.")
@click.option("--mime", "mime_type", help="Its MIME type (else by the name).")
@click.option("--description", help="What it is.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given again.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Metadata; a VALUE that is JSON is taken as such.")
@pass_app
def put(
    app: App, /, session: str, files: tuple[str, ...], name: str | None, meta: tuple[str, ...], **facts: Any
) -> None:
    """Store each FILE (- is stdin) in SESSION and print its id.

    What is not given is kept from an older version of that name.
    """
    if name and len(files) > 1:
        raise click.UsageError("--name goes with one FILE")
    if "-" in files and not name:
        raise click.UsageError("stdin needs a --name")
    facts |= {"tags": facts["tags"] or None, "custom": params.parse_metadata(meta)}
    store = app.open()
    for file in files:
        stored = _put(store, session, file, name or os.path.basename(file), facts)
        _say(app, store, stored, stored.id)


def _put(store: Store, session: str, file: str, name: str, facts: dict[str, Any]) -> Artifact:
    with render.Bar(name, _size(file), is_bytes=True) as bar:
        if file == "-":
            return store.artifacts.put(session, name, sys.stdin.buffer, progress=bar.update, **facts)
        return store.artifacts.put_file(session, file, name, progress=bar.update, **facts)


def _size(file: str) -> int | None:
    try:
        return None if file == "-" else os.stat(file).st_size or None
    except OSError:
        return None


@artifact.command()
@click.argument("ref")
@click.argument("target", metavar="[FILE]", default=".")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@pass_app
def get(app: App, ref: str, target: str, force: bool) -> None:
    """Copy an artifact into FILE, a folder (the working folder if none is given), or - for stdout."""
    store = app.open()
    found = store.artifacts.resolve(ref)
    if target == "-":
        _stream(store, found)
        return
    if os.path.isdir(target):
        target = os.path.join(target, os.path.basename(found.name))
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file, store.artifacts.open(found) as reader:
            file.writelines(reader.blocks())
    elif os.path.lexists(target) and not force:
        raise AlreadyExists("file", target)
    else:
        _copy_out(store, found, target)
    if app.json:
        render.say_json({"id": found.id, "file": target, "size": found.size})


def _copy_out(store: Store, found: Artifact, target: str) -> None:
    """Write *found* to *target*, which is there whole or not at all."""
    from llmspellfs.service.outgoing import write_whole

    folder = os.path.dirname(os.path.realpath(target))
    if not os.path.isdir(folder):
        raise NotFound("folder", folder)
    with store.artifacts.open(found) as reader, render.Bar(found.name, found.size, is_bytes=True) as bar:
        write_whole(target, reader.blocks(), bar.update)


def _stream(store: Store, found: Artifact) -> None:
    with store.artifacts.open(found) as reader:
        render.content(reader.blocks())


@artifact.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@pass_app
def cat(app: App, refs: tuple[str, ...]) -> None:
    """Write artifacts' content to stdout, one after the other."""
    store = app.open()
    for ref in refs:
        _stream(store, store.artifacts.resolve(ref))


@artifact.command("list")
@click.argument("session")
@click.option("--limit", type=params.IntRange(0), metavar="N", help="At most N.")
@click.option("--offset", type=params.IntRange(0), default=0, metavar="N", help="Leave out the first N.")
@pass_app
def list_artifacts(app: App, session: str, limit: int | None, offset: int) -> None:
    """List a session's artifacts in the order they were first stored."""
    from llmspellfs.cli.views import artifacts_of

    store = app.open()
    dirname = store.sessions.get(session).dirname
    found = store.artifacts.list(session, limit=limit, offset=offset)
    render.listing(artifacts_of(dirname), found, as_json=app.json)


@artifact.command()
@click.argument("ref")
@pass_app
def show(app: App, ref: str) -> None:
    """Show everything that is known of one artifact."""
    from llmspellfs.cli.views import artifact_json

    store = app.open()
    found = store.artifacts.resolve(ref)
    render.details(artifact_json(found, _dirname(store, found)), as_json=app.json)


@artifact.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@pass_app
def rm(app: App, refs: tuple[str, ...]) -> None:
    """Delete artifacts; `restore` brings them back while history keeps them."""
    store = app.open()
    for ref in refs:
        removed = store.artifacts.delete(*store.artifacts.place(ref))
        _say(app, store, removed, f"{removed.name}: deleted")


@artifact.command()
@click.argument("ref")
@pass_app
def history(app: App, ref: str) -> None:
    """List the versions of an artifact that are kept, oldest first.

    A name that nothing has now means the last artifact that was deleted, moved away or renamed from it.
    """
    from llmspellfs.cli.views import versions_of

    store = app.open()
    session, name = store.artifacts.place(ref)
    versions = store.artifacts.history(session, name)
    render.listing(versions_of(store.sessions.get(session).dirname), versions, as_json=app.json)


@artifact.command()
@click.argument("ref")
@click.option("--name", help="Bring it back under this name.")
@pass_app
def restore(app: App, ref: str, name: str | None) -> None:
    """Bring a deleted artifact back, or an older version (by its id) under a --name that is free."""
    store = app.open()
    restored = store.artifacts.restore(*store.artifacts.place(ref), name=name)
    _say(app, store, restored, f"{restored.name}: restored")


@artifact.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--prove", is_flag=True, help="List what was unlinked and erased.")
@pass_app
def purge(app: App, refs: tuple[str, ...], yes: bool, prove: bool) -> None:
    """Erase artifacts for good, every version of them, and what was renamed over them.

    A name that nothing has now means the last artifact that was deleted, moved away or renamed from it.

    The audit trail stays so that it verifies; their names stand in its lines, and so do the hashes of contents. No
    other word is left, and of the content no byte that nothing else uses; backups and exports are yours.
    """
    from llmspellfs.cli.purging import report_purge

    store = app.open()
    for ref in refs:
        if not yes:
            render.confirm(f"Erase artifact {ref} for good?")
        report = store.artifacts.purge(*store.artifacts.place(ref))
        report_purge(ref, report, prove=prove, as_json=app.json)


def _say(app: App, store: Store, what: Artifact, line: str) -> None:
    from llmspellfs.cli.views import artifact_json

    render.outcome(line, artifact_json(what, _dirname(store, what)) if app.json else None, as_json=app.json)


def _dirname(store: Store, what: Artifact) -> str:
    return store.sessions.get(what.session_id).dirname
