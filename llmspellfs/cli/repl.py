"""`llmspellfs repl`: Lua on the store, a line at a time; from a terminal, or `repl < file`."""

from __future__ import annotations

import errno
import math
import re
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app
from llmspellfs.errors import ScriptFailed
from llmspellfs.service import interrupts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmspellfs.lua.console import Console
    from llmspellfs.service.store import Store

_TOKEN = re.compile(r"""--\[=*\[|--.*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\[=*\[|\w+|[][(){}]""")
_DEPTH = dict.fromkeys(["{", "(", "[", "function", "do", "if", "repeat"], 1) | dict.fromkeys(
    ["}", ")", "]", "end", "until"], -1
)  # fmt: skip


@click.command(cls=Command)
@click.option("--session", metavar="REF", help="The session that is current at the start.")
@click.pass_context
@pass_app
def repl(app: App, ctx: click.Context, /, session: str | None) -> None:
    """Type Lua on the store, line by line; a line that is an expression prints its values.

    A line that is not whole goes on in the next one. A `local` that begins a line stays for the next ones. Tab
    completes names, and sessions within quotes. Control-C interrupts a line or what runs, Control-D ends. What was
    typed is kept for the next time, except what begins with a space.

    From a file or a pipe, what is read is run in the same way, without prompts; errors are told and the next line goes
    on, and the exit status is 1 at the end.
    """
    from llmspellfs.cli.mounts import mount_points
    from llmspellfs.lua.console import Console

    store = app.open(memory=True, create=True)
    console = Console(store, session=session, mounts=partial(mount_points, store.path))
    if sys.stdin.isatty() and sys.stdout.isatty():
        ctx.exit(_talk(console, store))
    status, failed = _run(console, _script(sys.stdin))
    ctx.exit(int(failed) if status is None else status)


def _run(console: Console, lines: Iterable[str]) -> tuple[int | None, bool]:
    """Run *lines*; return the exit status that they asked for, if they did, and whether anything failed."""
    failed = False
    for code in _pieces(console, lines):
        try:
            status = _run_piece(console, code)
        except ScriptFailed as error:
            render.failure(error)
            failed = True
        else:
            if status is not None:
                return status, failed
    return None, failed


def _run_piece(console: Console, code: str) -> int | None:
    try:
        with interrupts.heard():
            return console.run(code)
    finally:
        if sys.stdout.isatty():
            console.end_line()


def _script(lines: Iterable[str]) -> Iterator[str]:
    """Yield *lines* without what their beginning has for the system: a byte order mark, a line with `#!`.

    Where standard input is closed there are none, as for a shell.
    """
    try:
        for number, line in enumerate(lines):
            text = line if number else line.removeprefix("\ufeff")
            yield "\n" if number == 0 and text.startswith("#!") else text
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


def _pieces(console: Console, lines: Iterable[str]) -> Iterator[str]:
    """Yield what can run as soon as it can, and at the end what is left, behind as many line ends as it was.

    Whether it is whole is asked after each line; of a long piece, while something is open, only now and then.
    """
    depth: float = 0
    code, above, count, due = "", 0, 0, 0
    for line in lines:
        code, count, depth = code + line, count + 1, depth + _opened(line)
        if (depth > 0 and count < due) or not code.strip():
            continue
        if console.is_unfinished(code):
            due = count + count // 50
            continue
        yield "\n" * above + code
        code, above, depth, count, due = "", above + code.count("\n"), 0, 0, 0
    if code.strip():
        yield "\n" * above + code


def _opened(line: str) -> float:
    """Return how many brackets and blocks *line* opens and does not close; where that is hard to tell, many fewer."""
    words = _TOKEN.findall(line)
    if any(word.removeprefix("--").startswith(("[[", "[=")) for word in words):
        return -math.inf
    return sum(_DEPTH.get(word, 0) for word in words)


def _talk(console: Console, store: Store) -> int:
    from llmspellfs import __version__
    from llmspellfs.cli.prompt import prompts

    session = prompts(console, store)
    render.say(f"llmspellfs {__version__}, Lua 5.4. Tab completes, Control-D ends.")
    while True:
        try:
            status, _ = _run(console, (f"{line}\n" for line in session.prompt("> ").split("\n")))
            if status is not None:
                return status
        except KeyboardInterrupt:
            render.note("interrupted")
        except EOFError:
            return 0
