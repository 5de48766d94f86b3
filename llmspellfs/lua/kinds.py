"""What the functions of the API take, as their declarations say it: kinds of arguments (see `signatures`). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """A kind of argument; its value is what a script is told was expected."""

    SESSION = "a session's id or name"
    """nil and "" are the current one."""
    ANY_SESSION = "a session's id or name, or nil"
    """nil and "" are none."""
    ARTIFACT = "an artifact's id or name"
    TEXT = "a string"
    CONTENT = "a string of bytes"
    PATH = "the name of a file"
    COUNT = "a whole number, 0 or more"
    FLAG = "a boolean"
    TIME = "epoch seconds or an ISO 8601 time"
    TEXTS = "a list of strings"
    TAGS = "strings, or a list of them"
    """All that are left."""
    PARENT = "a session's id or name, or JSON.null for none"
    OBJECT = "a table with names"
    JSON = "what JSON can say"
    VALUE = "a value"
    """As JSON, and not nil."""
    POINT = 'a table with checkpoint, seq or time, or a string such as "c1", "12", "2h"'
    """A bare number could mean a checkpoint, a seq or a time, so it means none of them."""
    TABLE = "a table"
    """Of the fields that are declared."""
    FILTER = "a table of filters, or a query"
    SECONDS = "a number of seconds"
    FUNCTION = "a function"
    """As it comes; Lua's side calls it."""
    LIST = "a list of tables"
    """As it comes; its items are the function's own matter."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a function, or one field of a table that it takes."""

    name: str
    kind: Kind
    required: bool = True
    aliases: tuple[str, ...] = ()
    """Other names of a field."""
    fields: tuple[Argument, ...] = ()
    """What a table may hold."""
    is_open: bool = False
    """Whether a table may hold anything else too; it is found under `rest`."""
