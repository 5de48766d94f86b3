"""The command `verify`: audit trails checked, their heads given out to be kept elsewhere, and held against these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app

if TYPE_CHECKING:
    from llmspellfs.model.anchors import Anchors


@click.command(cls=Command)
@click.argument("session", required=False)
@click.option("--anchor", is_flag=True, help="Print the heads of all trails, to be kept elsewhere; check nothing.")
@click.option("--against", metavar="FILE", help="Hold the trails to heads that --anchor printed; - is standard input.")
@click.pass_context
@pass_app
def verify(app: App, ctx: click.Context, session: str | None, anchor: bool, against: str | None) -> None:
    """Check audit trails, of SESSION or of all.

    Names the first event that was altered, dropped or moved, and exits with 1 if there is one. Who can write to the
    store can also cut a trail's end or rewrite it whole: that shows only --against heads kept elsewhere. Events that
    were added since are fine.
    """
    from llmspellfs.cli.reports import chain_json, chain_line

    if anchor and (session or against):
        raise click.UsageError("--anchor goes with neither SESSION nor --against.")
    upkeep = app.open().upkeep
    if anchor:
        _print(upkeep.anchors(), as_json=app.json)
        return
    reports = upkeep.verify(session, against=None if against is None else _read(against))
    for report in reports:
        render.outcome(chain_line(report), chain_json(report), as_json=app.json)
    ctx.exit(render.FAILED if any(report.problem for report in reports) else 0)


def _print(anchors: Anchors, *, as_json: bool) -> None:
    if as_json:
        for document in anchors.documents():
            render.say_json(document)
    else:
        for line in anchors.lines():
            render.say(line)


def _read(path: str) -> Anchors:
    """Return the anchors in the file *path*; raise InvalidValue with the number of the line that is none."""
    from llmspellfs.model.anchors import parse_anchors

    name = "standard input" if path == "-" else path
    with click.open_file(path, "rb") as file:
        return parse_anchors((line.decode("ascii", "replace") for line in file), name)
