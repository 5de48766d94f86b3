"""Connections that end what was begun on them: no question stays open when a connection goes to the next borrower.

An open SELECT keeps its connection at the state that it began with, and whoever uses the connection next sees the store
as it was then. A cursor that nobody needs any more is as a rule gone at once, but not where its frame lives on: in the
traceback of an error that somebody keeps, or in what looks at the frames of all threads.
"""

from __future__ import annotations

import sqlite3
from typing import Any
from weakref import ref

_MANY = 1000


class Connection(sqlite3.Connection):
    """A connection that can close its cursors; that it knows them takes 0.3 µs for each."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Begin without any."""
        super().__init__(*args, **kwargs)
        self._begun: list[ref[sqlite3.Cursor]] = []

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute one statement, and return its cursor."""
        cursor = super().execute(sql, parameters)
        if len(self._begun) > _MANY:
            self._begun = [one for one in self._begun if one() is not None]
        self._begun.append(ref(cursor))
        return cursor

    def end_cursors(self) -> None:
        """Close every cursor that there still is."""
        for one in self._begun:
            cursor = one()
            if cursor is not None:
                cursor.close()
        self._begun.clear()


def end(connection: sqlite3.Connection) -> None:
    """Close every cursor that there still is of *connection*."""
    if isinstance(connection, Connection):
        connection.end_cursors()
