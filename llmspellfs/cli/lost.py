"""`llmspellfs lost`: bytes that were written but could not be committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Group, pass_app
from llmspellfs.errors import NotFound

if TYPE_CHECKING:
    from llmspellfs.service.store import Store
    from llmspellfs.storage.lost import LostItem


@click.group(cls=Group)
def lost() -> None:
    """See and recover what could not be committed."""


@lost.command("list")
@pass_app
def list_lost(app: App) -> None:
    """List what is in lost+found."""
    from llmspellfs.cli.reports import LOST

    render.listing(LOST, app.open().upkeep.lost(), as_json=app.json)


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
        render.details(lost_json(found), as_json=app.json)


@lost.command()
@click.argument("lost_id", metavar="ID")
@click.option("--session", metavar="REF", help="Into this session (else the one it was written in).")
@click.option("--name", help="Under this name (else the one it was written to).")
@pass_app
def recover(app: App, lost_id: str, session: str | None, name: str | None) -> None:
    """Store one as an artifact, and take it out of lost+found."""
    from llmspellfs.cli.views import artifact_json

    store = app.open()
    stored = store.upkeep.recover(_find(store, lost_id).id, session, name)
    dirname = store.sessions.get(stored.session_id).dirname
    render.outcome(f"{dirname}:{stored.name}", artifact_json(stored, dirname), as_json=app.json)


def _find(store: Store, lost_id: str) -> LostItem:
    for item in store.upkeep.lost():
        if item.id == lost_id:
            return item
    raise NotFound("lost item", lost_id)
