"""`llmspellfs find`: the query language on artifacts and sessions."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import click

from llmspellfs.cli import params, render
from llmspellfs.cli.app import App, Command, pass_app

if TYPE_CHECKING:
    from llmspellfs.model.artifact import Artifact
    from llmspellfs.service.store import Store


@click.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.argument("query", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--sessions", is_flag=True, help="Find sessions instead.")
@click.option("--session", metavar="REF", help="Only in this session.")
@params.page_options
@pass_app
def find(app: App, /, query: tuple[str, ...], sessions: bool, session: str | None, **page: Any) -> None:
    """Find artifacts or sessions by a query.

    All words of QUERY must hold, a,b is either, -x is not:

    \b
    type:tool_result tag:report name:*.csv size:>10k created:>2026-11-01
    updated:<1h session:q4* status:active mime:image/* meta.author:jane
    -tag:draft "free words"
    """
    if sessions and session:
        raise click.UsageError("--session goes with artifacts")
    text = " ".join(query)
    ordered = params.order(page.pop("sort"), page.pop("desc"))
    store = app.open()
    if sessions:
        _find_sessions(app, store, text, {**page, **ordered})
    else:
        _find_artifacts(app, store, text, {"session": session, **page, **ordered})


def _find_sessions(app: App, store: Store, text: str, options: dict[str, Any]) -> None:
    from llmspellfs.cli.views import SESSIONS

    render.listing(SESSIONS, store.sessions.list(text, **options), as_json=app.json)


def _find_artifacts(app: App, store: Store, text: str, options: dict[str, Any]) -> None:
    from llmspellfs.cli.views import found_artifacts

    @cache
    def dirname(session_id: str) -> str:
        return store.sessions.get(session_id).dirname

    def session_of(artifact: Artifact) -> str:
        return dirname(artifact.session_id)

    render.listing(found_artifacts(session_of), store.artifacts.query(text, **options), as_json=app.json)
