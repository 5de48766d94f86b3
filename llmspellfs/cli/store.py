"""The commands on the store as a whole: `init`, `config`, `stats`, `gc`, `fsck`, `verify`."""

from __future__ import annotations

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app
from llmspellfs.model.shown import visible


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


@click.command(cls=Command)
@click.option("--grace", type=click.FloatRange(0), default=3600.0, show_default=True, metavar="SECONDS",
              help="How long something must have been unused.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@pass_app
def gc(app: App, grace: float, dry_run: bool) -> None:
    """Remove what nothing refers to any more.

    Content is marked at first, and gone after a later run that comes past the grace.
    """
    upkeep = app.open().upkeep
    with render.Bar("collecting") as bar:
        report = upkeep.gc(grace_seconds=grace, dry_run=dry_run, progress=bar.update)
    from llmspellfs.cli.reports import gc_json, gc_line

    render.outcome(gc_line(report, dry_run=dry_run), gc_json(report, dry_run=dry_run), as_json=app.json)


@click.command(cls=Command)
@click.pass_context
@pass_app
def fsck(app: App, ctx: click.Context) -> None:
    """Check every chunk, reference and chain.

    Exits with 1 and names what is harmed, if anything is.
    """
    from llmspellfs.cli.reports import fsck_json, fsck_lines

    upkeep = app.open().upkeep
    with render.Bar("checking") as bar:
        report = upkeep.fsck(progress=bar.update)
    if app.json:
        render.say_json(fsck_json(report))
    else:
        for line in fsck_lines(report):
            render.say(visible(line))
    ctx.exit(0 if report.ok else render.FAILED)


@click.command(cls=Command)
@click.argument("session", required=False)
@click.pass_context
@pass_app
def verify(app: App, ctx: click.Context, session: str | None) -> None:
    """Check audit trails, of SESSION or of all.

    Exits with 1 if a line was altered, dropped or moved.
    """
    from llmspellfs.cli.reports import chain_json, chain_line

    reports = app.open().upkeep.verify(session)
    for report in reports:
        render.outcome(chain_line(report), chain_json(report), as_json=app.json)
    ctx.exit(render.FAILED if any(report.problem for report in reports) else 0)
