"""Deleting the files of chunks that the index does not have, beside writers who may be about to name them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from llmspellfs.service.engine import Engine
from llmspellfs.service.incoming import others_since
from llmspellfs.service.pacing import give_way
from llmspellfs.storage import contents, erasing
from llmspellfs.storage.blobs import Put
from llmspellfs.storage.ingest import Written

_UNLINKED = 32
"""Files that are unlinked while the write lock is held."""
_PAUSED = 8
"""How often in a row that is done before other writers have a turn for sure."""
_UNDOOMED = 1000
"""Rows that one transaction deletes."""


def doomed(engine: Engine) -> list[str]:
    """Delete the files of all doomed chunks; return those gone."""
    with engine.index.read() as db:
        hashes = erasing.doomed(db)
    return chunks(engine, hashes)


def chunks(engine: Engine, hashes: Iterable[str], *, put_before_ns: int | None = None) -> list[str]:
    """Delete the files of chunks that the index, looked at under the write lock, does not have; return those gone.

    Whoever needs one meanwhile looks under the same lock whether it is there. A file that was put at *put_before_ns* or
    later, or since content began to come in that cannot be stored anew, is left alone: somebody is about to name it.
    Those that were doomed are so no more, once their absence survives power loss, or since somebody has them again.
    """
    given = list(hashes)
    if not given:
        return []
    since_ns = None if put_before_ns is None else others_since(engine, put_before_ns)
    gone, _ = _unlink(engine, given, lambda put_ns, _: since_ns is None or not since_ns <= put_ns <= time.time_ns())
    _undoom(engine, given)
    return gone


def take_back(engine: Engine, written: Iterable[Written], *, patience: float | None = None) -> None:
    """Delete the files that were *written* for what no row will name, and that no row names.

    Whoever relies on a file puts it; so one that was put since is somebody's, and one that was there before is left to
    who put it then, where that one is still at it and cannot store it anew. What is left so stays doomed if it was: a
    purge has yet to delete it. *patience*: seconds to wait for other writers.
    """
    puts: dict[str, list[Put]] = {}
    for chunk, put in written:
        puts.setdefault(chunk, []).append(put)
    if puts:
        since_ns = others_since(engine, time.time_ns())
        gone, in_use = _unlink(engine, sorted(puts), lambda ns, chunk: _is_ours(ns, puts[chunk], since_ns), patience)
        _undoom(engine, [*gone, *in_use])


def _is_ours(put_ns: int, puts: list[Put], since_ns: int) -> bool:
    """Tell whether a file that was last put at *put_ns* is only of who made *puts*, or of others before *since_ns*."""
    own = [put.ns for put in puts]
    theirs = (put.before_ns for put in puts if put.before_ns == put.ns or put.before_ns not in own)
    return put_ns == max(own) and all(before_ns is None or before_ns < since_ns for before_ns in theirs)


def _unlink(
    engine: Engine, given: list[str], may_go: Callable[[int, str], bool], patience: float | None = None
) -> tuple[list[str], list[str]]:
    """Delete the files of those chunks that the index does not have, and of which *may_go* says so.

    It is given when a file was put, and its chunk. Returns those gone, and those that the index has.
    """
    gone, in_use, blobs = list[str](), list[str](), engine.rooms.blobs
    for number, start in enumerate(range(0, len(given), _UNLINKED)):
        give_way(number % _PAUSED == _PAUSED - 1)
        with engine.index.write(frees=True, patience=patience) as db:
            for chunk in given[start : start + _UNLINKED]:
                if contents.has_chunk(db, chunk):
                    in_use.append(chunk)
                elif (put_ns := blobs.put_ns(chunk)) is None or may_go(put_ns, chunk):
                    blobs.delete(chunk)
                    gone.append(chunk)
    if given:
        blobs.sync()
    return gone, in_use


def _undoom(engine: Engine, hashes: Iterable[str]) -> None:
    with engine.index.read() as db:
        done = sorted(set(hashes) & set(erasing.doomed(db)))
    for start in range(0, len(done), _UNDOOMED):
        give_way(start > 0)
        with engine.index.write(frees=True) as db:
            erasing.undoom(db, done[start : start + _UNDOOMED])
