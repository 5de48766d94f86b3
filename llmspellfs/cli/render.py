"""The only room that prints: tables, JSON, content, progress and errors.

Results go to stdout; errors, progress and questions to stderr. A terminal gets tables and bars (by rich,
imported only then), anything else plain text in aligned columns. Control characters in names are made
visible, so that no name can move a terminal's cursor.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from llmspellfs import errors
from llmspellfs.model.shown import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from rich.progress import Progress

    from llmspellfs.cli.views import Column, View

T = TypeVar("T")
_DIFF_COLOURS = {"-": "red", "+": "green", "@": "cyan"}

FAILED, BAD_USAGE, PIPE_CLOSED = 1, 2, 141
BAR_AFTER_SECONDS = 1.0

EXIT_STATUS: dict[type[errors.SpellError], int] = {
    errors.NotFound: FAILED,
    errors.AlreadyExists: FAILED,
    errors.NotAFolder: FAILED,
    errors.IsAFolder: FAILED,
    errors.NotEmpty: FAILED,
    errors.InvalidName: BAD_USAGE,
    errors.NameTooLong: BAD_USAGE,
    errors.NameNotText: BAD_USAGE,
    errors.InvalidValue: BAD_USAGE,
    errors.InvalidTransition: FAILED,
    errors.SessionNotActive: FAILED,
    errors.ReadOnly: FAILED,
    errors.SessionBusy: FAILED,
    errors.NotAllowed: FAILED,
    errors.NotSupported: FAILED,
    errors.LimitExceeded: FAILED,
    errors.TooLarge: FAILED,
    errors.NoSpace: FAILED,
    errors.StoreBusy: FAILED,
    errors.StoreUnusable: FAILED,
    errors.ConfigError: FAILED,
    errors.MountFailed: FAILED,
    errors.ScriptFailed: FAILED,
    errors.Vanished: FAILED,
    errors.Corrupt: FAILED,
}
"""What the process exits with for each class of error: 1 the operation failed, 2 it was badly asked for."""

_OPTIONS = {"sort_by": "--sort"} | {
    f"{what}_{side}": f"--{what}-{side}" for what in ("created", "updated") for side in ("before", "after")
}
"""The options of the command that values come from, by what the service calls these."""


def prepare() -> None:
    """Make the standard streams take any text, as escapes where their encoding lacks it.

    In place of a closed one stands, so that no file of the store gets its number, what fails as it does when it is read
    or written (EBADF); what is said on a closed stderr is lost.
    """
    sys.stdin = sys.stdin or open(os.open(os.devnull, os.O_WRONLY))  # noqa: SIM115 - for the life of the process
    sys.stdout = sys.stdout or open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write out what stdout still buffers, while a failure can be handled."""
    sys.stdout.flush()


def silence() -> int:
    """Send what stdout still buffers nowhere, as it takes no more; return the status of a closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return PIPE_CLOSED


def say(line: str) -> None:
    """Print *line* on stdout as it is; it may hold several lines."""
    sys.stdout.write(line + "\n")


def say_json(value: object) -> None:
    """Print *value* as one line of JSON."""
    say(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def note(line: str) -> None:
    """Print *line* on stderr as one line, without a claim that something is wrong."""
    sys.stderr.write(visible(line) + "\n")


def content(blocks: Iterable[bytes | memoryview]) -> None:
    """Write *blocks* to stdout byte by byte as they are."""
    sys.stdout.flush()
    for block in blocks:
        rest = memoryview(block)
        while rest:  # with PYTHONUNBUFFERED stdout is a raw file, whose writes may be short
            rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


def patch(lines: Iterable[str]) -> None:
    """Print the *lines* of a diff: byte by byte as they are, or on a terminal in colours and visible."""
    shown = _in_colour if sys.stdout.isatty() else str
    content(f"{shown(line)}\n".encode("utf-8", "backslashreplace") for line in lines)


def _in_colour(line: str) -> str:
    text = "\t".join(map(visible, line.split("\t")))
    if os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=_DIFF_COLOURS.get(line[:1]), bold=line[:1].isalpha() or None)


def outcome(line: str, value: object, *, as_json: bool) -> None:
    """Print what a command did: *line* for people, *value* for programs."""
    say_json(value) if as_json else say(visible(line))


def listing(view: View[T], items: Sequence[T], *, as_json: bool) -> None:
    """Print *items*: one JSON object a line, or a table; no items, no output."""
    if as_json:
        for item in items:
            say_json(view.as_json(item))
    elif items:
        rows = [[visible(column.cell(item)) for column in view.columns] for item in items]
        _rich_table(view.columns, rows) if sys.stdout.isatty() else _plain_table(view.columns, rows)


def details(fields: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the *fields* of one thing: a JSON object, or a line for each that says something."""
    if as_json:
        say_json(fields)
        return
    shown = {key: _one_line(value) for key, value in fields.items() if value not in (None, "", [], {})}
    width = max(map(len, shown), default=0)
    for key, text in shown.items():
        say(f"{key:<{width}}  {text}")


def confirm(question: str) -> None:
    """Ask *question* where a person is at the terminal; raise click.Abort unless the answer is yes."""
    if sys.stdin.isatty():
        click.confirm(visible(question), abort=True, err=True)


def failure(error: Exception, *, debug: bool = False) -> int:
    """Print *error* on stderr as one line, with its traceback if *debug*; return the exit status for it.

    A script's own error is printed as the script gave it, with Lua's traceback.
    """
    try:
        flush()
    except OSError:
        silence()
    if debug and not isinstance(error, errors.ScriptFailed):
        traceback.print_exception(error, file=sys.stderr)
    message = _message(error)
    lines = message.split("\n") if isinstance(error, errors.ScriptFailed) else [message]
    sys.stderr.write("llmspellfs: " + "\n".join(map(visible, lines)) + "\n")
    for line in script_frames(error):
        sys.stderr.write(f"{line}\n")
    if isinstance(error, click.ClickException):
        return error.exit_code
    return next((EXIT_STATUS[kind] for kind in type(error).__mro__ if kind in EXIT_STATUS), FAILED)


def script_frames(error: Exception) -> list[str]:
    """Return the lines of the Lua traceback of a script's *error*, as they can be shown."""
    text = error.traceback if isinstance(error, errors.ScriptFailed) else ""
    _, title, frames = text.rpartition("\nstack traceback:\n")
    return [title.strip(), *(f"\t{visible(frame.strip())}" for frame in frames.splitlines())] if title else []


def _message(error: Exception) -> str:
    if isinstance(error, errors.InvalidValue) and error.where in _OPTIONS:
        return f"{_OPTIONS[error.where]}: {error.expected}"
    if isinstance(error, errors.SpellError):
        return error.message
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and error.errno == errno.EBADF and not error.filename:
        return f"standard input or output is closed: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    is_harm = isinstance(error, TypeError | ValueError | KeyError | AttributeError)
    more = ", `llmspellfs fsck` whether the store is harmed" if is_harm else ""
    return f"unforeseen {type(error).__name__}: {error} (--debug shows where{more})"


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "llmspellfs"
    words = path.partition(" ")[2]
    text = " ".join(error.format_message().split()).rstrip(".")
    return f"{words + ': ' if words else ''}{text} (see {path} --help)"


def _one_line(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return visible(", ".join(value))
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _plain_table(columns: Sequence[Column[Any]], rows: Sequence[Sequence[str]]) -> None:
    titles = [column.title for column in columns]
    widths = [max(len(row[index]) for row in [titles, *rows]) for index in range(len(columns))]
    for row in [titles, *rows]:
        cells = [
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _rich_table(columns: Sequence[Column[Any]], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, justify="right" if column.is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=sys.stdout, highlight=False).print(table)


class Bar:
    """A progress bar on stderr: on a terminal only, and only once the work has taken a second."""

    def __init__(self, label: str, total: int | None = None, *, is_bytes: bool = False) -> None:
        """Call the work *label*; *total* is how much there is of it, None where that comes later or never."""
        self._label, self._total, self._is_bytes = visible(label), total, is_bytes
        self._due = time.monotonic() + BAR_AFTER_SECONDS if sys.stderr.isatty() else float("inf")
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        """Begin; nothing is shown yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()

    def update(self, done: int, total: int | None = None) -> None:
        """Say that *done* of *total* (if it is known by now) is behind."""
        if time.monotonic() < self._due:
            return
        if self._progress is None:
            self._progress = self._start()
        task = self._progress.task_ids[0]
        self._progress.update(task, completed=done, total=self._total if total is None else total)

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        amount = DownloadColumn(binary_units=True) if self._is_bytes else MofNCompleteColumn()
        columns = ("{task.description}", BarColumn(), amount, TimeRemainingColumn())
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        progress.add_task(self._label, total=self._total)
        progress.start()
        return progress
