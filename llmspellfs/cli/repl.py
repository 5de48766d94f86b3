"""`llmspellfs repl`: Lua on the store, a line at a time; from a terminal, or `repl < file`."""

from __future__ import annotations

import os
import re
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app
from llmspellfs.errors import ScriptFailed
from llmspellfs.model.shown import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer

    from llmspellfs.lua.console import Console
    from llmspellfs.service.store import Store

_PATH = re.compile(r"[A-Za-z_][\w.:]*$")
_OPEN_TEXT = re.compile(r"""^(?:[^"']|"[^"]*"|'[^']*')*["']([^"']*)$""")
_MOST_SESSIONS = 1000


@click.command(cls=Command)
@click.option("--session", metavar="REF", help="The session that is current at the start.")
@click.pass_context
@pass_app
def repl(app: App, ctx: click.Context, /, session: str | None) -> None:
    """Type Lua on the store, line by line; a line that is an expression prints its values.

    Control-C interrupts a line or what runs, Control-D ends. From a file or a pipe, what is read is run in the same
    way, without prompts; errors are told and the next line goes on, and the exit status is 1 at the end.
    """
    from llmspellfs.cli.mounts import mount_points
    from llmspellfs.lua.console import Console

    store = app.open(memory=True, create=True)
    console = Console(store, session=session, mounts=partial(mount_points, store.path))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.stdin.isatty() and sys.stdout.isatty():
        ctx.exit(_talk(console, store))
    ctx.exit(_read(console, sys.stdin))


def _read(console: Console, lines: Iterable[str]) -> int:
    failed = False
    for code in _pieces(console, lines):
        status, ok = _run(console, code)
        if status is not None:
            return status
        failed = failed or not ok
    return int(failed)


def _pieces(console: Console, lines: Iterable[str]) -> Iterator[str]:
    """Yield what can run as soon as it can, and at the end what is left, behind as many line ends as it was."""
    code, above = "", ""
    for number, line in enumerate(lines):
        if number == 0 and line.startswith("#"):
            above = "\n"
            continue
        code += line
        if code.strip() and not console.is_unfinished(code):
            yield above + code
            above, code = above + "\n" * code.count("\n"), ""
    if code.strip():
        yield above + code


def _run(console: Console, code: str) -> tuple[int | None, bool]:
    """Run *code*; return the exit status that it asked for, if it did, and whether it went well."""
    try:
        return console.run(code), True
    except ScriptFailed as error:
        render.failure(error)
    return None, False


def _talk(console: Console, store: Store) -> int:
    from llmspellfs import __version__

    prompts = _prompts(console, store)
    render.say(f"llmspellfs {__version__}, Lua 5.4. Tab completes, Control-D ends.")
    while True:
        try:
            code = prompts.prompt("> ")
            if code.strip():
                status, _ = _run(console, code)
                if status is not None:
                    return status
        except KeyboardInterrupt:
            render.note("interrupted")
        except EOFError:
            return 0


def _prompts(console: Console, store: Store) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    def history() -> History:
        try:
            return FileHistory(_history_file())
        except OSError:
            return InMemoryHistory()

    wants_more = Condition(lambda: console.is_unfinished(get_app().current_buffer.text))
    return PromptSession(
        history=history(), completer=_completer(console, store), complete_while_typing=False,
        multiline=wants_more, prompt_continuation=". ",
    )  # fmt: skip


def _history_file() -> str:
    """Return where what was typed is kept, for its owner alone."""
    from platformdirs import user_data_path

    folder = user_data_path("llmspellfs", ensure_exists=True)
    path = os.path.join(folder, "repl-history")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    return path


def _completer(console: Console, store: Store) -> Completer:
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.document import Document

    class Names(Completer):
        """Names of Lua, and within quotes sessions by directory name and id."""

        def get_completions(self, document: Document, _: object) -> Iterator[Completion]:
            before = document.current_line_before_cursor
            if (text := _OPEN_TEXT.match(before)) is not None:
                for ref, told in sessions(store, text[1]):
                    yield Completion(ref, -len(text[1]), display_meta=told)
            elif (path := _PATH.search(before)) is not None:
                last = re.split("[.:]", path[0])[-1]
                for name in console.names(path[0]):
                    yield Completion(name, -len(last))

    return Names()


def sessions(store: Store, start: str) -> Iterator[tuple[str, str]]:
    """Yield each session's directory name, and from the fourth character on its id, that begins with *start*."""
    for one in store.sessions.list(sort_by="updated_at", order="desc", limit=_MOST_SESSIONS):
        if one.dirname.startswith(start):
            yield one.dirname, f"{one.status} {one.id[:8]}"
        if len(start) >= 4 and one.id.startswith(start):
            yield one.id, f"{one.status} {visible(one.dirname)}"
