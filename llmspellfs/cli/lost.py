"""`llmspellfs lost`: bytes that were written but could not be committed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Group, pass_app
from llmspellfs.cli.params import age
from llmspellfs.errors import NotFound

if TYPE_CHECKING:
    from llmspellfs.service.store import Store
    from llmspellfs.storage.lost import LostItem


@click.group(cls=Group)
def lost() -> None:
    """See, recover and discard what could not be committed."""


@lost.command("list")
@pass_app
def list_lost(app: App) -> None:
    """List what is in lost+found."""
    from llmspellfs.cli.reports import lost_view

    upkeep = app.open().upkeep
    render.listing(lost_view(upkeep.meant_for), upkeep.lost(), as_json=app.json)


@lost.command()
@click.argument("lost_id", metavar="ID")
@click.option("--content", is_flag=True, help="Write the bytes themselves to stdout.")
@pass_app
def show(app: App, lost_id: str, content: bool) -> None:
    """Show what is known of one, or its bytes."""
    from llmspellfs.cli.reports import lost_json

    store = app.open()
    found = _find(store, lost_id)
    if content:
        render.content(store.upkeep.read_lost(found.id))
    else:
        render.details(lost_json(found, store.upkeep.meant_for(found)), as_json=app.json)


@lost.command()
@click.argument("lost_id", metavar="ID")
@click.option("--session", metavar="REF", help="Into this session (else the one it was written in).")
@click.option("--name", help="Under this name (else the one it was written to).")
@pass_app
def recover(app: App, lost_id: str, session: str | None, name: str | None) -> None:
    """Store one as an artifact, and take it out of lost+found.

    Where a write was refused it is a part of what was to be written: that is said on stderr.
    """
    from llmspellfs.cli.views import artifact_json

    store = app.open()
    found = _find(store, lost_id)
    stored = store.upkeep.recover(found.id, session, name)
    dirname = store.sessions.get(stored.session_id).dirname
    if found.is_part:
        render.note(f"{dirname}:{stored.name} is a part of what was to be written: {found.why}")
    render.outcome(f"{dirname}:{stored.name}", artifact_json(stored, dirname), as_json=app.json)


@lost.command()
@click.argument("lost_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is there.")
@click.option("--older-than", type=age, metavar="AGE", help="What was lost longer ago than that: `30m`, `2h`, `7d`.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def rm(app: App, lost_ids: tuple[str, ...], everything: bool, older_than: int | None, yes: bool) -> None:
    """Discard them for good."""
    from llmspellfs.cli.views import human_size
    from llmspellfs.model.shown import count

    if bool(lost_ids) + everything + (older_than is not None) != 1:
        raise click.UsageError("expected one of ID..., --all and --older-than")
    store = app.open()
    before = time.time_ns() - (older_than or 0)
    items = [_find(store, each) for each in dict.fromkeys(lost_ids)] or [
        item for item in store.upkeep.lost() if everything or item.at_ns < before
    ]
    what = f"{count(len(items), 'item')} ({human_size(sum(item.size for item in items))})"
    if items and not yes:
        render.confirm(f"Discard {what} for good?")
    for item in items:
        store.upkeep.discard_lost(item.id)
    render.outcome(f"{what} discarded", {"discarded": [item.id for item in items]}, as_json=app.json)


def _find(store: Store, lost_id: str) -> LostItem:
    for item in store.upkeep.lost():
        if item.id == lost_id:
            return item
    raise NotFound("lost item", lost_id)
