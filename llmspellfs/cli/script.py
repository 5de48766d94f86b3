"""`llmspellfs run`: a Lua script on the store; `--sandbox` for one that is not trusted."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from llmspellfs.cli import params
from llmspellfs.cli.app import App, Command, pass_app
from llmspellfs.cli.params import size
from llmspellfs.lua.limits import MEMORY, SECONDS

if TYPE_CHECKING:
    from llmspellfs.lua.runtime import Script


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("-e", "code", metavar="CODE", help="Run CODE; all words after it are its arguments.")
@click.option("--session", metavar="REF", help="The session that is current at the start.")
@click.option("--no-record", is_flag=True, help="Leave no record of the run in the sessions that it changes.")
@click.option("--sandbox", is_flag=True, help="For a script that is not trusted: no files, no commands, bounded; "
              "only the session of --session, or without it those that the script makes.")  # fmt: skip
@click.option("--read-only", is_flag=True, help="In a sandbox: all other sessions can be read.")
@click.option("--timeout", type=params.FloatRange(min=0, min_open=True, max=1e9), metavar="SECONDS",
              help=f"In a sandbox: kill the script after SECONDS (status 124); {SECONDS:g} by default.")  # fmt: skip
@click.option("--memory", type=size, metavar="SIZE",
              help=f"In a sandbox: what the script may use, as 64M; {MEMORY >> 20}M by default.")  # fmt: skip
@click.option("--max-artifacts", type=params.IntRange(min=0), metavar="N",
              help="In a sandbox: store no more than N artifacts, each new version counted.")  # fmt: skip
@click.argument("words", metavar="SCRIPT [ARGS...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
@pass_app
def run(
    app: App, ctx: click.Context, /, code: str | None, session: str | None, no_record: bool, sandbox: bool,
    words: tuple[str, ...], **bounds: Any,
) -> None:  # fmt: skip
    """Run a Lua script on the store.

    SCRIPT is a file, or - for stdin. Exits with the script's own status.
    """
    from llmspellfs.cli.ending import Ending
    from llmspellfs.cli.mounts import mount_points
    from llmspellfs.lua.runtime import Script

    if code is None and not words:
        raise click.UsageError("expected SCRIPT or -e CODE")
    if sandbox:
        ctx.exit(_run_sandboxed(app, code, words, session, record=not no_record, **bounds))
    if given := [name for name, value in bounds.items() if value not in {None, False}]:
        raise click.UsageError(f"--{given[0].replace('_', '-')} needs --sandbox")
    if no_record:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a loop in Lua never comes back to where Python would hear of it
    args = words if code is not None else words[1:]
    store = app.open(memory=True, create=True)
    mounts = partial(mount_points, store.path)
    script = Script(store, session=session, args=args, record=not no_record, mounts=mounts)
    with nullcontext() if no_record else Ending(store):
        status = _run(script, code, words)
    ctx.exit(status)


def _run(script: Script, code: str | None, words: tuple[str, ...]) -> int:
    if code is not None:
        return script.run_code(code)
    return script.run_code(sys.stdin.read(), "=stdin") if words[0] == "-" else script.run_file(words[0])


def _run_sandboxed(
    app: App, code: str | None, words: tuple[str, ...], session: str | None, *, record: bool, read_only: bool,
    timeout: float | None, memory: int | None, max_artifacts: int | None,
) -> int:  # fmt: skip
    from llmspellfs.cli.sandbox import Order, run_in_child

    name, text = _source(code, words)
    args = words if code is not None else words[1:]
    return run_in_child(Order(
        text, name, args, app.store, app.config, session, read_only, max_artifacts,
        timeout or SECONDS, MEMORY if memory is None else memory, record, app.debug,
    ))  # fmt: skip


def _source(code: str | None, words: tuple[str, ...]) -> tuple[str, bytes]:
    """Return what Lua calls the script that is meant, and its text."""
    if code is not None:
        return "=(-e)", code.encode("utf-8", "surrogateescape")
    if words[0] == "-":
        return "=stdin", sys.stdin.buffer.read()
    with open(words[0], "rb") as file:
        return f"@{words[0]}", file.read()
