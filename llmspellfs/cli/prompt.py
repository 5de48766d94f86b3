"""The prompt of `llmspellfs repl` on a terminal: what was typed before, what could be meant, when a piece is whole.

It belongs to the main thread, and imports prompt_toolkit: only who has a terminal imports it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from llmspellfs.errors import SpellError
from llmspellfs.model.shown import visible
from llmspellfs.model.values import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prompt_toolkit.document import Document

    from llmspellfs.lua.console import Console
    from llmspellfs.service.store import Store

MOST_KEPT: Final = 1 << 20
"""Bytes of what was typed, beyond which the older half is dropped."""
LONGEST_KEPT: Final = 1 << 16
"""Characters of a piece that is kept."""
_MOST_SESSIONS = 100
_PATH = re.compile(r"(?<![\w:])(?<!(?<!\.)\.)[A-Za-z_]\w*(?:[.:]\w+)*[.:]?$")
_TOKEN = re.compile(r"""--.*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(["'])(.*)|.""")


def prompts(console: Console, store: Store) -> PromptSession[str]:
    """Return what asks for pieces of code that *console* is to run on *store*."""
    wants_more = Condition(lambda: console.is_unfinished(get_app().current_buffer.text))
    return PromptSession(
        history=_history(), completer=Names(console, store), complete_while_typing=False,
        multiline=wants_more, prompt_continuation=". ",
    )  # fmt: skip


def _history() -> History:
    from platformdirs import user_data_path

    try:
        return Typed(os.path.join(user_data_path("llmspellfs", ensure_exists=True), "repl-history"))
    except OSError:
        return InMemoryHistory()


class Typed(FileHistory):
    """What was typed, in a file that is its owner's alone and holds no more than the newest pieces.

    What begins with a space is not kept, as shells have it; nor is what cannot be written.
    """

    def __init__(self, path: str) -> None:
        """Keep it in the file *path*; raise OSError where that cannot be."""
        super().__init__(path)
        with open(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), "rb") as file:
            os.fchmod(file.fileno(), 0o600)
            content = file.read()
        if len(content) > MOST_KEPT:
            with suppress(OSError):
                _replace(path, content[content.find(b"\n\n# ", len(content) - MOST_KEPT // 2) + 1 :])

    def store_string(self, string: str) -> None:
        """Keep *string*."""
        if not string.startswith(" ") and len(string) <= LONGEST_KEPT:
            with suppress(OSError):
                super().store_string(string)


def _replace(path: str, content: bytes) -> None:
    fresh = f"{path}.{os.getpid()}"
    with open(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
    os.replace(fresh, path)


class Names(Completer):
    """Names of Lua, and within quotes sessions by directory name and id."""

    def __init__(self, console: Console, store: Store) -> None:
        """Complete with what *console* knows by now, and with the sessions of *store*."""
        self._console, self._store = console, store

    def get_completions(self, document: Document, _: object) -> Iterator[Completion]:
        """Yield what the word before the cursor could become; nothing where the store cannot tell."""
        before = document.current_line_before_cursor
        if (quoted := _open_text(before)) is not None:
            with suppress(SpellError):
                yield from self._sessions(*quoted)
        elif (path := _PATH.search(before)) is not None:
            last = re.split("[.:]", path[0])[-1]
            for name in self._console.names(path[0]):
                yield Completion(name, -len(last))

    def _sessions(self, quote: str, typed: str) -> Iterator[Completion]:
        start = re.sub(r"\\(.)", r"\1", typed)
        for ref, told in sessions(self._store, start) if is_text(start) else ():
            yield Completion(_literal(ref, quote), -len(typed), display=visible(ref), display_meta=told)


def _open_text(line: str) -> tuple[str, str] | None:
    """Return the quote that is open at the end of *line* and what follows it, or None."""
    return next(((token[1], token[2]) for token in _TOKEN.finditer(line) if token[1]), None)


def _literal(text: str, quote: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
    return "".join(char if char >= " " else f"\\{ord(char):03}" for char in escaped)


def sessions(store: Store, start: str) -> Iterator[tuple[str, str]]:
    """Yield each session's directory name, and from the fourth character on its id, that begins with *start*.

    They come by name, without a *start* the last changed first; no more than a hundred.
    """
    if start:
        named = store.search.sessions_from(start, _MOST_SESSIONS)
    else:
        named = store.sessions.list(sort_by="updated_at", order="desc", limit=_MOST_SESSIONS)
    for one in named:
        yield one.dirname, f"{one.status} {one.id[:8]}"
    if len(start) >= 4:
        for one in store.search.sessions_from(start, _MOST_SESSIONS, ids=True):
            yield one.id, f"{one.status} {visible(one.dirname)}"
