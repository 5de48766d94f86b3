"""The SQL of forgetting for good: rows, labels, full text, and content that nothing refers to any more.

Every function takes a connection and runs in the caller's transaction. Lists of numbers are bound as JSON.
"""

# ruff: noqa: S608 - queries are made of constants of this module and the schema

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from llmspellfs.storage import disk, stale
from llmspellfs.storage.index import Connection

FLEETING_NS = 60 * 1_000_000_000
"""A file created and deleted within this time keeps its events but not its content."""
IN_PAGES = 1 << 16
"""Bytes up to which a content is in the index, so that its pages are erased with its row."""
FOR_CHUNKS = 1024
"""Bytes of a larger content for which one is written in the index when it goes: some 1 KiB for each of its chunks."""
_ROW = 1024
_THESE = "IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Purge:
    """A purge that has not ended: of the session *sid*, or of its artifact *sequence*."""

    id: int
    sid: int
    sequence: int | None
    keeps_content: bool
    known: str | None = None
    """By what its lost bytes are found, as `former.known` and `known_inos` say it."""


@dataclass(frozen=True, slots=True)
class ErasedRows:
    """What went with rows: *labels* and entries of the full text (*words*) too; *cids* are the contents they had."""

    rows: int
    labels: int
    words: int
    cids: list[int]
    files: int
    """Live files among the rows, and below their bytes."""
    size: int


class ErasedContents(NamedTuple):
    """What went with contents: chunks whose *files* are to go, and stored bytes *freed*."""

    files: list[str]
    freed: int
    contents: list[str]


def begin(db: Connection, sid: int, sequence: int | None, *, keeps_content: bool, known: str | None = None) -> Purge:
    """Note that a purge has begun, which is to be ended whatever comes between."""
    query = "INSERT INTO purge (sid, sequence, keeps_content, known) VALUES (?, ?, ?, ?)"
    number = db.execute(query, (sid, sequence, keeps_content, known)).lastrowid
    assert number is not None
    if not keeps_content:
        stale.note(db, number)
    return Purge(number, sid, sequence, keeps_content, known)


def unfinished(db: Connection) -> list[Purge]:
    """Return the purges that have not ended."""
    rows = db.execute("SELECT id, sid, sequence, keeps_content, known FROM purge ORDER BY id")
    return [Purge(number, sid, sequence, bool(keeps), known) for number, sid, sequence, keeps, known in rows]


def forget_known(db: Connection, purges: Iterable[Purge]) -> None:
    """Forget what is noted beside *purges*: their lost bytes are gone."""
    db.executemany("UPDATE purge SET known = NULL WHERE id = ?", [(purge.id,) for purge in purges])


def end(db: Connection, purges: Iterable[Purge]) -> None:
    """Note that *purges* have ended; what others have of what was purged is theirs alone."""
    for purge in purges:
        key = (purge.sid, purge.sequence)
        db.execute("DELETE FROM former WHERE sid = ? AND sequence = ifnull(?, sequence)", key)
        db.execute("DELETE FROM purge WHERE id = ?", (purge.id,))


def row_ids(db: Connection, sid: int, sequence: int | None = None) -> list[tuple[int, int]]:
    """Return the eid of each row of session *sid*, or of its artifact *sequence*, the newest first.

    Beside each stand the bytes of the index that may be written for it.
    """
    where, key = ("sid = ?", (sid,)) if sequence is None else ("kind = 0 AND sid = ? AND sequence = ?", (sid, sequence))
    weight = f"CASE WHEN size <= {IN_PAGES} THEN size ELSE {_ROW} + size / {FOR_CHUNKS} END"
    return db.execute(f"SELECT eid, coalesce({weight}, 0) FROM entry WHERE {where} ORDER BY eid DESC", key).fetchall()


def weight(size: object) -> int:
    """Return how many bytes of the index may be written when a content of *size* bytes goes, by a row that may lie."""
    if not isinstance(size, int):
        return IN_PAGES
    return size if size <= IN_PAGES else _ROW + size // FOR_CHUNKS


def erase_rows(db: Connection, eids: list[int]) -> ErasedRows:
    """Delete the rows *eids* and what is made of them; their words are left to `search_text.drop_gone`."""
    these = (json.dumps(eids),)
    rows = db.execute(f"SELECT ino, content FROM entry WHERE eid {_THESE}", these).fetchall()
    live = "kind = 0 AND seq_to IS NULL"
    files, size = db.execute(
        f"SELECT count(*), coalesce(sum(size), 0) FROM entry WHERE eid {_THESE} AND {live}", these
    ).fetchone()
    words = db.execute(f"SELECT count(*) FROM entry_text_content WHERE id {_THESE}", these).fetchone()[0]
    labels = db.execute(f"DELETE FROM entry_label WHERE eid {_THESE}", these).rowcount
    db.execute(f"DELETE FROM entry WHERE eid {_THESE}", these)
    drop_inodes(db, [row[0] for row in rows])
    cids = sorted({row[1] for row in rows if row[1] is not None})
    return ErasedRows(len(rows), labels, words, cids, files, size)


def drop_inodes(db: Connection, inos: list[int]) -> None:
    """Delete those of *inos* that no row has any more."""
    unused = "NOT EXISTS (SELECT 1 FROM entry e WHERE e.ino = inode.ino)"
    db.execute(f"DELETE FROM inode WHERE ino {_THESE} AND {unused}", (json.dumps(inos),))


def erase_session_rows(db: Connection, sid: int, purged_ns: int, seq: int) -> int:
    """Delete all that session *sid* said of itself before its purge, event *seq* at *purged_ns*; count its labels."""
    db.execute("DELETE FROM session_row WHERE sid = ?", (sid,))
    labels = db.execute("DELETE FROM session_label WHERE sid = ?", (sid,)).rowcount
    db.execute("DELETE FROM checkpoint WHERE sid = ?", (sid,))
    db.execute(
        "UPDATE session SET deleted_ns = coalesce(deleted_ns, ?), purged_ns = ?, horizon_seq = ? WHERE sid = ?",
        (purged_ns, purged_ns, seq, sid),
    )
    return labels


def erase_contents(db: Connection, cids: list[int], *, is_purge: bool = False) -> ErasedContents:
    """Delete those of *cids* that no row refers to, and their chunks that nothing else needs; these are doomed.

    Where it *is_purge*, a content that has one of these chunks, and no row either, goes with them.
    """
    loose = "NOT EXISTS (SELECT 1 FROM entry e WHERE e.content = c.cid)"
    fields = "c.cid, c.hash, coalesce(length(c.data), 0) FROM content c"
    gone = db.execute(f"SELECT {fields} WHERE c.cid {_THESE} AND {loose}", (json.dumps(cids),)).fetchall()
    if is_purge:
        partners = f"c.cid IN (SELECT cid FROM content_chunk WHERE kid {_THESE})"
        kids = json.dumps(_kids(db, [row[0] for row in gone]))
        gone += db.execute(f"SELECT {fields} WHERE {partners} AND {loose}", (kids,)).fetchall()
    erased = {row[0]: row[1:] for row in gone}
    of_these = _kids(db, list(erased))
    these = (json.dumps(list(erased)),)
    db.execute(f"DELETE FROM content_chunk WHERE cid {_THESE}", these)
    db.execute(f"DELETE FROM content WHERE cid {_THESE}", these)
    files, freed, _ = erase_loose(db, of_these)
    freed += sum(size for _, size in erased.values())
    return ErasedContents(files, freed, [digest.hex() for digest, _ in erased.values()])


def _kids(db: Connection, cids: list[int]) -> list[int]:
    query = f"SELECT DISTINCT kid FROM content_chunk WHERE cid {_THESE}"
    return [row[0] for row in db.execute(query, (json.dumps(cids),))]


class ErasedChunks(NamedTuple):
    """What went with chunks: those whose *files* are doomed, stored bytes *freed*, and how *many* chunks."""

    files: list[str]
    freed: int
    many: int


def erase_loose(db: Connection, kids: list[int]) -> ErasedChunks:
    """Delete those of the chunks *kids* that no content has."""
    unused = "NOT EXISTS (SELECT 1 FROM content_chunk m WHERE m.kid = chunk.kid)"
    query = f"SELECT kid, hash, stored_size, data IS NULL FROM chunk WHERE kid {_THESE} AND {unused}"
    rows = db.execute(query, (json.dumps(kids),)).fetchall()
    db.execute(f"DELETE FROM chunk WHERE kid {_THESE}", (json.dumps([row[0] for row in rows]),))
    files = [digest.hex() for _, digest, _, is_file in rows if is_file]
    doom(db, files)
    return ErasedChunks(files, sum(row[2] for row in rows), len(rows))


def doom(db: Connection, chunks: Iterable[str]) -> None:
    """Note that the files of *chunks* are to be unlinked."""
    db.executemany("INSERT OR IGNORE INTO doomed (hash) VALUES (?)", [(bytes.fromhex(chunk),) for chunk in chunks])


def doomed(db: Connection) -> list[str]:
    """Return the chunks whose files are still to be unlinked."""
    return [row[0].hex() for row in db.execute("SELECT hash FROM doomed ORDER BY hash")]


def undoom(db: Connection, chunks: Iterable[str]) -> None:
    """Note that the files of *chunks* are unlinked, or needed again."""
    db.executemany("DELETE FROM doomed WHERE hash = ?", [(bytes.fromhex(chunk),) for chunk in chunks])


def forget_messages(db: Connection, session_id: str, sequences: Collection[int] | None = None) -> int:
    """Delete published messages that name a session, or these of its artifacts, in their payload; count them.

    They are named by their ids: the session's is *session_id*.
    """
    if sequences is None:
        return db.execute("DELETE FROM message WHERE instr(payload, ?)", (session_id,)).rowcount
    rows = db.execute("SELECT id, payload FROM message WHERE instr(payload, ?)", (f"{session_id}/",)).fetchall()
    named = re.compile(rf"{re.escape(session_id)}/(\d{{1,18}})/")
    gone = [number for number, text in rows if any(int(told) in sequences for told in named.findall(text))]
    db.execute(f"DELETE FROM message WHERE id {_THESE}", (json.dumps(gone),))
    return len(gone)


def empty_wal(db: Connection, patience: float) -> bool:
    """Move the WAL into the database and empty it, so that no erased word stays there; tell whether readers let it.

    They are waited for *patience* seconds at most, between tries and not within one: that would hold up every writer.
    """
    deadline = time.monotonic() + patience
    before = db.execute("PRAGMA busy_timeout").fetchone()[0]
    db.execute("PRAGMA busy_timeout = 20")
    try:
        disk.execute("index.fold", db, "PRAGMA wal_checkpoint(PASSIVE)")
        while _is_wal_held(db):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True
    finally:
        db.execute(f"PRAGMA busy_timeout = {before}")


def _is_wal_held(db: Connection) -> bool:
    try:
        busy: int = disk.execute("index.empty_wal", db, "PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return True
        raise
    return bool(busy)
