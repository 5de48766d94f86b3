"""The commands on the store as a whole: `init`, `config`, `stats`."""

from __future__ import annotations

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app


@click.command(cls=Command)
@click.argument("path", required=False)
@pass_app
def init(app: App, path: str | None) -> None:
    """Make a store at PATH, or see that one is there.

    Without PATH it is where --store, LLMSPELL_SESSION_PATH or the configuration say.
    """
    app.store = path or app.store
    where = str(app.open(create=True).path)
    render.outcome(f"store: {where}", {"path": where}, as_json=app.json)


@click.command(cls=Command)
@pass_app
def config(app: App) -> None:
    """Show the configuration in force, as TOML."""
    from llmspellfs.cli.reports import config_json, config_toml

    loaded = app.load_config()
    path = app.store_path(loaded)
    if app.json:
        render.say_json(config_json(loaded, path))
    else:
        render.say(config_toml(loaded, path))


@click.command(cls=Command)
@pass_app
def stats(app: App) -> None:
    """Show how much is in the store and what it takes."""
    from llmspellfs.cli.reports import stats_json, stats_shown

    found = app.open().upkeep.stats()
    render.details(stats_json(found) if app.json else stats_shown(found), as_json=app.json)
