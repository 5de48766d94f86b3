"""`llmspellfs run`: a Lua script on the store."""

from __future__ import annotations

import signal
import sys

import click

from llmspellfs.cli.app import App, Command, pass_app


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("-e", "code", metavar="CODE", help="Run CODE; all words after it are its arguments.")
@click.option("--session", metavar="REF", help="The session that is current at the start.")
@click.argument("words", metavar="SCRIPT [ARGS...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
@pass_app
def run(app: App, ctx: click.Context, code: str | None, session: str | None, words: tuple[str, ...]) -> None:
    """Run a Lua script on the store.

    SCRIPT is a file, or - for stdin. Exits with the script's own status.
    """
    from llmspellfs.lua.runtime import Script

    if code is None and not words:
        raise click.UsageError("expected SCRIPT or -e CODE")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a loop in Lua never comes back to where Python would hear of it
    args = words if code is not None else words[1:]
    script = Script(app.open(memory=True, create=True), session=session, args=args)
    if code is not None:
        ctx.exit(script.run_code(code))
    if words[0] == "-":
        ctx.exit(script.run_code(sys.stdin.read(), "=stdin"))
    ctx.exit(script.run_file(words[0]))
