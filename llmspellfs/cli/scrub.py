"""The command `scrub`: content is read and hashed again, at once."""

from __future__ import annotations

import click

from llmspellfs.cli import params, render
from llmspellfs.cli.app import App, Command, pass_app


@click.command(cls=Command)
@click.option("--all", "whole", is_flag=True, help="All content; this is the default.")
@click.option("--share", type=params.FloatRange(0, 100, min_open=True), metavar="PERCENT",
              help="So much of it, from where the scrub is.")  # fmt: skip
@click.pass_context
@pass_app
def scrub(app: App, ctx: click.Context, whole: bool, share: float | None) -> None:
    """Read all content again and compare its hashes.

    A mount does so by itself, a little at a time, all of it once in `scrub_days`; `stats` shows how far it is. Names
    the artifacts that are harmed, and exits with 1 if any is. `fsck` checks the index too, and repairs.
    """
    from llmspellfs.cli.reports import scrub_json, scrub_lines

    if whole and share is not None:
        raise click.UsageError("--all and --share exclude each other.")
    upkeep = app.open().upkeep
    with render.Bar("scrubbing", is_bytes=True) as bar:
        report = upkeep.scrub(100.0 if share is None else share, progress=bar.update)
    if app.json:
        render.say_json(scrub_json(report))
    else:
        for line in scrub_lines(report):
            render.say(line)
    ctx.exit(render.FAILED if report.harmed else 0)
