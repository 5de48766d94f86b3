"""The command `gc`: what nothing refers to any more goes."""

from __future__ import annotations

import click

from llmspellfs.cli import params, render
from llmspellfs.cli.app import App, Command, pass_app


@click.command(cls=Command)
@click.option("--grace", type=params.FloatRange(0), default=3600.0, show_default=True, metavar="SECONDS",
              help="How long something must have been unused; a file that no row names, 60 at the least.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--force", is_flag=True, help="Even if the clock seems to have jumped ahead.")
@click.option(
    "--give-up",
    is_flag=True,
    help="Collect also what lost rows, or commits that a harmed WAL hides, may have referred to, from now on.",
)
@pass_app
def gc(app: App, grace: float, dry_run: bool, force: bool, give_up: bool) -> None:
    """Remove what nothing refers to any more.

    History older than `history_days` is pruned, all but what checkpoints show. Content that nothing refers to is
    marked at first, and gone after a later run that comes past the grace. Orphans, files that a write left behind and
    that no row names, go once they are as old. Where the index has lost rows, all content stays until it is said to
    --give-up what they referred to; where a harmed WAL hides commits, all history too, until a repair puts them back
    or they are given up. Mounts and scripts may go on meanwhile. The configuration's rules of retention are applied
    first, as `llmspellfs retention` does. If a purge could not write the index anew, it is now.
    """
    from llmspellfs.cli.reports import gc_json, gc_line, stale_note
    from llmspellfs.cli.retention import deed_json, told

    store = app.open(dry_run=dry_run)
    retained = store.retention.apply(dry_run=dry_run, force=force)
    if not app.json and (store.retention.rules or store.timed_out):
        told(retained, store.timed_out, as_json=False)
    with render.Bar("collecting") as bar:
        report = store.upkeep.gc(
            grace_seconds=grace, dry_run=dry_run, force=force, give_up=give_up, progress=bar.update
        )
    said = gc_json(report, dry_run=dry_run)
    if store.retention.rules:
        said["retention"] = [deed_json(deed, dry_run=dry_run) for deed in retained.deeds]
    render.outcome(gc_line(report, dry_run=dry_run, grace_seconds=grace), said, as_json=app.json)
    if report.kept_for is not None:
        render.note(f"no content was collected: {report.kept_for}")
    if report.stale is not None:
        render.note(f"what was purged: {stale_note(report.stale)}")
