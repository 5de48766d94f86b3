"""A store that one process has for itself, as a repair needs it: nobody opens it meanwhile, and nobody has it open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmspellfs.errors import StoreUnusable
from llmspellfs.storage import readers
from llmspellfs.storage.connections import Connection, connect
from llmspellfs.storage.opening import opening_turn
from llmspellfs.storage.spool import FOLDER, is_alive


@contextmanager
def alone(path: Path, busy_seconds: float) -> Iterator[None]:
    """Keep others from opening the store at *path* for the length of the block.

    Raises StoreUnusable, naming the processes, where any has it open, and StoreBusy where others keep opening it.
    """
    root = os.fspath(path)
    if not os.path.isdir(root):
        raise StoreUnusable.missing(root)
    with opening_turn(path, busy_seconds), readers.kept_out(path) as is_unread:
        users = sorted({name.split("-")[0] for name in _names(f"{root}/{FOLDER}") if is_alive(root, name)}, key=int)
        if users:
            who = f"process {users[0]} has" if len(users) == 1 else f"processes {', '.join(users)} have"
            raise StoreUnusable(root, f"{who} it open: a repair needs it alone (unmount it first)")
        if not is_unread:
            raise StoreUnusable(root, "another process reads it: a repair needs it alone (unmount it first)")
        yield


def connect_alone(path: str) -> Connection:
    """Return a connection to a database that nobody else has, each commit of which survives power loss."""
    connection = connect(path)
    for pragma in ("synchronous = FULL", "temp_store = MEMORY", "secure_delete = ON", "foreign_keys = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _names(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(path) if name.split("-")[0].isdecimal()]
    except (FileNotFoundError, NotADirectoryError):
        return []
